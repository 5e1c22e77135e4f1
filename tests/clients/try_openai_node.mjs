// The openai package for Node: chat, tools, objects, embeddings, Responses, completions.
import assert from 'node:assert/strict';
import { KEY, V1, expectIdle, feature, load, modelName, rejection, tryAll } from './features.mjs';

const OpenAI = load('openai');
const { z } = load('zod');
const { zodFunction, zodResponseFormat, zodTextFormat } = load('openai/helpers/zod');

const client = new OpenAI({ baseURL: V1, apiKey: KEY, maxRetries: 0 });
const model = await modelName();
const fact = [
    { role: 'system', content: 'Answer briefly.' },
    { role: 'user', content: 'What is the capital of France?' },
];
const weather = [{ role: 'user', content: 'What is the weather in Paris, in celsius?' }];
const aboutAnn = [{ role: 'user', content: 'Ann is 41 years old. Write her name and age as JSON.' }];
const Weather = z.object({ city: z.string(), unit: z.enum(['celsius', 'fahrenheit']) });
const Person = z.object({ name: z.string(), age: z.number().int() });
const tool = zodFunction({ name: 'get_weather', parameters: Weather });
const chat = (messages, fields) =>
    client.chat.completions.create({ model, messages, max_tokens: 48, ...fields });

feature('models: list', async () => {
    assert((await client.models.list()).data.some((m) => m.id === model));
});

feature('chat: an answer with usage', async () => {
    const answer = await chat(fact);
    assert.match(answer.choices[0].message.content, /Paris/);
    const { prompt_tokens, completion_tokens, total_tokens } = answer.usage;
    assert.equal(total_tokens, prompt_tokens + completion_tokens);
});

feature('stream: joins to the text, usage at the end', async () => {
    const whole = await chat(fact);
    const chunks = [];
    const stream = await chat(fact, { stream: true, stream_options: { include_usage: true } });
    for await (const chunk of stream) chunks.push(chunk);
    const text = chunks.map((c) => c.choices[0]?.delta.content ?? '').join('');
    assert.equal(text, whole.choices[0].message.content);
    assert.equal(chunks.at(-1).usage.total_tokens, whole.usage.total_tokens);
    const helper = client.chat.completions.stream({ model, messages: fact, max_tokens: 48 });
    assert.equal(await helper.finalContent(), text);
});

feature('tools: required, a valid call; streamed, the same call', async () => {
    const fields = { tools: [tool], tool_choice: 'required' };
    const answer = await chat(weather, fields);
    assert.equal(answer.choices[0].finish_reason, 'tool_calls');
    const [call] = answer.choices[0].message.tool_calls;
    assert.equal(call.function.name, 'get_weather');
    Weather.parse(JSON.parse(call.function.arguments));
    const helper = client.chat.completions.stream({ model, messages: weather, max_tokens: 48, ...fields });
    const final = (await helper.finalChatCompletion()).choices[0].message.tool_calls[0];
    assert.equal(final.function.arguments, call.function.arguments);
});

feature('tools: the helper runs them and goes on', async () => {
    let asked;
    const getWeather = (found) => {
        asked = found;
        return 'sunny, 21 degrees';
    };
    const runner = client.chat.completions.runTools({
        model,
        messages: weather,
        max_tokens: 48,
        tool_choice: { type: 'function', function: { name: 'get_weather' } },
        tools: [
            {
                type: 'function',
                function: {
                    name: 'get_weather',
                    description: 'The weather in a city now.',
                    function: getWeather,
                    parse: (text) => Weather.parse(JSON.parse(text)),
                    parameters: tool.function.parameters,
                },
            },
        ],
    });
    await runner.done();
    Weather.parse(asked);
});

feature('parse: an object of a zod schema', async () => {
    const answer = await client.chat.completions.parse({
        model,
        messages: aboutAnn,
        response_format: zodResponseFormat(Person, 'person'),
    });
    assert.deepEqual(answer.choices[0].message.parsed, { name: 'Ann', age: 41 });
});

feature('logprobs, n, seed, stop', async () => {
    const fields = { logprobs: true, top_logprobs: 2, n: 2, seed: 3, temperature: 0.7 };
    const answer = await chat(fact, { ...fields, max_tokens: 8 });
    assert.equal(answer.choices.length, 2);
    for (const { logprobs, message } of answer.choices) {
        assert.equal(logprobs.content.map((t) => t.token).join(''), message.content);
    }
    assert.doesNotMatch((await chat(fact, { stop: 'Paris' })).choices[0].message.content, /Paris/);
});

feature('completions: text, stream', async () => {
    const fields = { model, prompt: 'The capital of France is', max_tokens: 8 };
    const whole = (await client.completions.create(fields)).choices[0].text;
    let text = '';
    for await (const chunk of await client.completions.create({ ...fields, stream: true })) {
        text += chunk.choices[0]?.text ?? '';
    }
    assert.equal(text, whole);
    assert.match(whole, /Paris/);
});

feature('embeddings: base64, which the package asks for, and float', async () => {
    const input = ['a cat', 'the stock market'];
    const { data } = await client.embeddings.create({ model, input });
    const floats = await client.embeddings.create({ model, input, encoding_format: 'float' });
    assert.equal(data.length, 2);
    assert(Math.abs(Math.hypot(...data[0].embedding) - 1) < 1e-3);
    assert(Math.abs(data[1].embedding[5] - floats.data[1].embedding[5]) < 1e-5);
});

feature('responses: an answer that follows another, a stream, an object, a call', async () => {
    const first = await client.responses.create({ model, input: 'My name is Ann.', max_output_tokens: 16 });
    const second = await client.responses.create({
        model,
        input: 'What is my name? Answer with the name.',
        previous_response_id: first.id,
        max_output_tokens: 16,
    });
    assert.match(second.output_text, /Ann/);
    let text = '';
    const stream = client.responses.stream({ model, input: fact, max_output_tokens: 16 });
    stream.on('response.output_text.delta', (event) => (text += event.delta));
    assert.equal((await stream.finalResponse()).output[0].content[0].text, text);
    const format = zodTextFormat(Person, 'person');
    const parsed = await client.responses.parse({ model, input: aboutAnn, text: { format } });
    assert.deepEqual(parsed.output_parsed, { name: 'Ann', age: 41 });
    const tools = [{ type: 'function', ...tool.function }];
    const called = await client.responses.create({ model, input: weather, tools, tool_choice: 'required' });
    Weather.parse(JSON.parse(called.output.find((o) => o.type === 'function_call').arguments));
});

feature('errors: the classes of the package, with the name of the field', async () => {
    const error = await rejection(chat(fact, { temperature: 9 }));
    assert(error instanceof OpenAI.BadRequestError);
    assert.equal(error.param, 'temperature');
    assert((await rejection(client.files.list())) instanceof OpenAI.NotFoundError);
});

feature('cancel: an aborted stream ends the work', async () => {
    const stream = await chat(fact, { max_tokens: -1, stream: true, temperature: 1.5, seed: 1 });
    for await (const chunk of stream) {
        if (chunk.choices[0].delta.content) stream.controller.abort();
    }
    await expectIdle();
});

await tryAll();
