// The ollama package for JavaScript: chat, generate, tools, objects, embeddings, models.
import assert from 'node:assert/strict';
import { URL, expectIdle, feature, load, rejection, tryAll } from './features.mjs';

const { Ollama } = load('ollama');

const client = new Ollama({ host: URL });
const model = (await client.list()).models[0].model;
const fact = [{ role: 'user', content: 'What is the capital of France? Answer briefly.' }];
const options = { num_predict: 32, temperature: 0 };
const chat = (fields) => client.chat({ model, messages: fact, options, ...fields });
const join = async (stream, text) => {
    let joined = '';
    for await (const part of stream) joined += text(part);
    return joined;
};

feature('models: list, show, ps, version', async () => {
    const [found] = (await client.list()).models;
    assert.match(found.name, /:latest$/);
    assert(found.size > 1e6 && found.details.family);
    const shown = await client.show({ model });
    assert(shown.capabilities.includes('completion'));
    assert.equal((await client.ps()).models[0].name, found.name);
    assert.match((await client.version()).version, /^\d+\.\d+\.\d+/);
});

feature('chat: an answer with figures; a stream joins to it', async () => {
    const whole = await chat();
    assert.match(whole.message.content, /Paris/);
    assert(whole.done && whole.eval_count > 0 && whole.total_duration > 1000);
    assert.equal(await join(await chat({ stream: true }), (p) => p.message.content), whole.message.content);
});

feature('tools: a call with valid arguments, its result goes back', async () => {
    const tools = [
        {
            type: 'function',
            function: {
                name: 'get_weather',
                description: 'Tells the weather in a city now.',
                parameters: {
                    type: 'object',
                    required: ['city'],
                    properties: { city: { type: 'string', description: 'the name of the city' } },
                },
            },
        },
    ];
    const ask = [{ role: 'user', content: 'Use the tool: what is the weather in Paris?' }];
    const answer = await chat({ messages: ask, tools });
    const call = answer.message.tool_calls[0].function;
    assert.equal(call.name, 'get_weather');
    assert.equal(typeof call.arguments.city, 'string');
    const result = { role: 'tool', tool_name: call.name, content: 'sunny, 21 degrees' };
    assert((await chat({ messages: [...ask, answer.message, result], tools })).message.content);
});

feature('format: a schema', async () => {
    const format = {
        type: 'object',
        required: ['name', 'age'],
        properties: { name: { type: 'string' }, age: { type: 'integer' } },
    };
    const messages = [{ role: 'user', content: 'Ann is 41 years old. Write her name and age as JSON.' }];
    assert.deepEqual(JSON.parse((await chat({ messages, format })).message.content), { name: 'Ann', age: 41 });
});

feature('generate: text, stream', async () => {
    const fields = { model, prompt: 'What is the capital of France?', system: 'Answer briefly.', options };
    const whole = (await client.generate(fields)).response;
    assert.match(whole, /Paris/);
    assert.equal(await join(await client.generate({ ...fields, stream: true }), (p) => p.response), whole);
});

feature('embed', async () => {
    const { embeddings } = await client.embed({ model, input: ['a cat', 'a dog'] });
    assert.equal(embeddings.length, 2);
    assert(Math.abs(Math.hypot(...embeddings[0]) - 1) < 1e-3);
});

feature('pull: a model that is here is a success', async () => {
    assert.equal((await client.pull({ model })).status, 'success');
});

feature('errors: ResponseError with the status and a text', async () => {
    const error = await rejection(chat({ model: 'no-such-model' }));
    assert.equal(error.name, 'ResponseError');
    assert.equal(error.status_code, 404);
    assert.match(error.message, /no-such-model/);
});

feature('cancel: an aborted stream ends the work', async () => {
    const stream = await chat({ stream: true, options: { num_predict: -1, temperature: 1.5, seed: 1 } });
    const error = await rejection(join(stream, () => (stream.abort(), '')));
    assert.equal(error.name, 'AbortError');
    await expectIdle();
});

await tryAll();
