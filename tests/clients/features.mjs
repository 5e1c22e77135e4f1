// Shared by the scripts for Node in this folder, like features.py for Python: features that are tried one
// after the other, each with a line of result.
import { createRequire } from 'node:module';
import process from 'node:process';

export const URL = (process.argv[2] ?? 'http://127.0.0.1:7860').replace(/\/$/, '');
export const V1 = URL + '/v1';
export const KEY = process.env.KINGLET_KEY ?? 'none';

// packages outside of this tree: NODE_PATH counts for require only
export const load = createRequire(import.meta.url);

const features = [];

// Declares an asynchronous function as a feature. It fails by an exception.
export function feature(text, attempt) {
    features.push([text, attempt]);
}

// Tries the features and ends the program: with 1 if one failed.
export async function tryAll() {
    let failed = 0;
    for (const [text, attempt] of features) {
        try {
            await attempt();
            console.log(`ok      ${text}`);
        } catch (error) {
            failed += 1;
            console.log(`FAILED  ${text}`);
            console.error(error);
        }
    }
    process.exit(failed ? 1 : 0);
}

export async function getJson(path) {
    const reply = await fetch(URL + path, { headers: { Authorization: `Bearer ${KEY}` } });
    return reply.json();
}

export async function modelName() {
    return (await getJson('/v1/models')).data[0].id;
}

// Waits until the server computes nothing any more: a request whose client is gone has ended. Of /health;
// other servers have no such figure.
export async function expectIdle() {
    for (let i = 0; (await getJson('/health')).running > 0; i += 1) {
        if (i === 500) throw new Error('a request still runs');
        await new Promise((resolve) => setTimeout(resolve, 20));
    }
}

// The error that the promise is rejected with.
export async function rejection(promise) {
    try {
        await promise;
    } catch (error) {
        return error;
    }
    throw new Error('no error');
}
