// Uses the openai package for Node on a server with one slot and a queue of one (its URL is the first
// argument, a question with a long answer the second): with both taken, the package obeys Retry-After
// by itself. Prints one JSON object for test_admission.py.
import { createRequire } from 'node:module';
import process from 'node:process';

// a package outside of this tree: NODE_PATH counts for require only
const OpenAI = createRequire(import.meta.url)('openai');
const client = new OpenAI({ baseURL: process.argv[2], apiKey: 'none', maxRetries: 8 });
for (let i = 0; i < 2; i++)
    await client.chat.completions.create({
        model: 'default',
        messages: JSON.parse(process.argv[3]),
        max_tokens: -1,
        stream: true,
    });
const answer = await client.chat.completions.create({
    model: 'default',
    messages: [{ role: 'user', content: 'Hello' }],
    max_tokens: 2,
});
console.log(JSON.stringify({ tokens: answer.usage.completion_tokens }));
process.exit(); // abandons the other requests
