// Uses the openai package for Node on the server whose URL is the first argument: prints its results
// as one JSON object for test_openai_node.py.
import { createRequire } from 'node:module';
import process from 'node:process';

// a package outside of this tree: NODE_PATH counts for require only
const OpenAI = createRequire(import.meta.url)('openai');
const client = new OpenAI({ baseURL: process.argv[2], apiKey: 'none', maxRetries: 0 });
const messages = [{ role: 'user', content: '写一句话介绍北京，加一个表情符号。' }];
const fields = { model: 'default', messages, max_tokens: 24 };
const result = {};

result.models = (await client.models.list()).data.map((model) => model.id);

const whole = await client.chat.completions.create(fields);
result.whole = whole.choices[0].message.content;
result.usage = whole.usage;

const chunks = [];
const stream = await client.chat.completions.create({
    ...fields,
    stream: true,
    stream_options: { include_usage: true },
});
for await (const chunk of stream) chunks.push(chunk);
result.streamed = chunks.map((chunk) => chunk.choices[0]?.delta.content ?? '').join('');
result.pieces = chunks.filter((chunk) => chunk.choices[0]?.delta.content).length;
result.streamUsage = chunks.at(-1).usage;

const runner = client.chat.completions.stream(fields);
result.helper = await runner.finalContent();

try {
    await client.chat.completions.create({ ...fields, temperature: 9 });
} catch (error) {
    result.error = { name: error.constructor.name, status: error.status, param: error.param };
}

const aborted = await client.chat.completions.create({ ...fields, max_tokens: -1, stream: true });
for await (const chunk of aborted) {
    if (chunk.choices[0].delta.content) aborted.controller.abort();
}
result.aborted = true;

console.log(JSON.stringify(result));
