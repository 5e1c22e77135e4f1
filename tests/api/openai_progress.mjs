// Uses the openai package for Node on a stream with comments, and on one with chunks that only have the
// progress. The URL of the server is the first argument. Prints one JSON object for
// test_progress.py.
import { createRequire } from 'node:module';
import process from 'node:process';

// a package outside of this tree: NODE_PATH counts for require only
const OpenAI = createRequire(import.meta.url)('openai');
const client = new OpenAI({ baseURL: process.argv[2], apiKey: 'none', maxRetries: 0 });
const fields = {
    model: 'default',
    messages: [{ role: 'user', content: 'word and '.repeat(900) }],
    max_tokens: 8,
};
const result = {};

const stream = await client.chat.completions.create({ ...fields, stream: true });
result.plain = '';
for await (const chunk of stream) result.plain += chunk.choices[0].delta.content ?? '';

const runner = client.chat.completions.stream({ ...fields, return_progress: true });
const message = await runner.finalMessage();
result.progress = message.content;
result.role = message.role;

console.log(JSON.stringify(result));
