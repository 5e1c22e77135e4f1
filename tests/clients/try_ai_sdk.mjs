// The AI SDK, with its provider for compatible servers (Chat Completions) and its default one for OpenAI
// (Responses): text, streams, tools, objects, embeddings.
import assert from 'node:assert/strict';
import { KEY, V1, expectIdle, feature, load, modelName, rejection, tryAll } from './features.mjs';

const { APICallError, embedMany, generateObject, generateText, stepCountIs, streamObject, streamText, tool } =
    load('ai');
const { createOpenAICompatible } = load('@ai-sdk/openai-compatible');
const { createOpenAI } = load('@ai-sdk/openai');
const { z } = load('zod');

const name = await modelName();
const compatible = createOpenAICompatible({
    name: 'kinglet',
    baseURL: V1,
    apiKey: KEY,
    includeUsage: true,
    supportsStructuredOutputs: true,
});
const openai = createOpenAI({ baseURL: V1, apiKey: KEY });
const models = { compatible: compatible(name), 'default (Responses)': openai(name), chat: openai.chat(name) };

const brief = { temperature: 0, maxOutputTokens: 48, maxRetries: 0 };
const fact = 'What is the capital of France? Answer briefly.';
const Person = z.object({ name: z.string(), age: z.number().int() });
const ann = 'Ann is 41 years old. Write her name and age.';

for (const [provider, model] of Object.entries(models)) {
    feature(`${provider}: a text with usage; a stream joins to it`, async () => {
        const whole = await generateText({ ...brief, model, prompt: fact });
        assert.match(whole.text, /Paris/);
        assert(whole.usage.inputTokens > 5 && whole.usage.outputTokens > 0);
        const stream = streamText({ ...brief, model, prompt: fact });
        let text = '';
        for await (const piece of stream.textStream) text += piece;
        assert.equal(text, whole.text);
        assert.equal((await stream.usage).outputTokens, whole.usage.outputTokens);
    });

    feature(`${provider}: generateObject, streamObject`, async () => {
        const { object } = await generateObject({ ...brief, model, schema: Person, prompt: ann });
        assert.deepEqual(object, { name: 'Ann', age: 41 });
        const stream = streamObject({ ...brief, model, schema: Person, prompt: ann });
        let last;
        for await (const part of stream.partialObjectStream) last = part;
        assert.deepEqual(last, object);
    });

    feature(`${provider}: a tool that is run, then an answer`, async () => {
        const asked = [];
        const getWeather = tool({
            description: 'Tells the weather in a city now.',
            inputSchema: z.object({ city: z.string() }),
            execute: async ({ city }) => {
                asked.push(city);
                return `sunny in ${city}, 21 degrees`;
            },
        });
        const result = await generateText({
            ...brief,
            model,
            tools: { getWeather },
            prepareStep: ({ stepNumber }) => ({ toolChoice: stepNumber === 0 ? 'required' : 'none' }),
            stopWhen: stepCountIs(2),
            prompt: 'What is the weather in Paris?',
        });
        assert.equal(asked.length, 1);
        assert.equal(result.steps.length, 2);
        assert(result.text);
    });

    feature(`${provider}: a streamed call`, async () => {
        const getWeather = tool({ inputSchema: z.object({ city: z.string() }) });
        const stream = streamText({
            ...brief,
            model,
            tools: { getWeather },
            toolChoice: 'required',
            prompt: 'What is the weather in Paris?',
        });
        const calls = await stream.toolCalls;
        assert.equal(calls[0].toolName, 'getWeather');
        assert.equal(typeof calls[0].input.city, 'string');
    });
}

feature('embedMany', async () => {
    for (const model of [compatible.textEmbeddingModel(name), openai.textEmbeddingModel(name)]) {
        const { embeddings } = await embedMany({ model, values: ['a cat', 'a dog'], maxRetries: 0 });
        assert.equal(embeddings.length, 2);
        assert(Math.abs(Math.hypot(...embeddings[0]) - 1) < 1e-3);
    }
});

feature("errors: APICallError with the status and the server's text", async () => {
    const error = await rejection(generateText({ ...brief, model: models.compatible, prompt: fact, topP: 7 }));
    assert(APICallError.isInstance(error));
    assert.equal(error.statusCode, 400);
    assert.match(error.message, /top_p/);
});

feature('cancel: an aborted stream ends the work', async () => {
    const abort = new AbortController();
    const fields = { model: models.compatible, prompt: fact, temperature: 1.5, seed: 1 };
    const stream = streamText({ ...fields, maxOutputTokens: 4000, abortSignal: abort.signal });
    for await (const piece of stream.textStream) {
        if (piece) abort.abort();
    }
    await expectIdle();
});

await tryAll();
