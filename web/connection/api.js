// Requests to the server, and how they fail.

import { currentKey } from './key.js';

/** A failed request: `status` is 0 if the server sent none. */
export class ApiError extends Error {
    constructor(message, { status = 0, code = '', retryAfter = 0 } = {}) {
        super(message);
        this.name = 'ApiError';
        this.status = status;
        this.code = code;
        this.retryAfter = retryAfter;
    }
}

/** Returns the headers that every request has. */
export function accessHeaders() {
    const key = currentKey();
    return key === '' ? {} : { Authorization: `Bearer ${key}` };
}

/** Returns the error that a response tells of. */
export async function failure(response) {
    let error = null;
    try {
        ({ error } = await response.json());
    } catch {
        // a proxy in front of the server has error formats of its own, for instance HTML
    }
    return new ApiError(error?.message ?? response.statusText, {
        status: response.status,
        code: error?.code ?? '',
        retryAfter: Number(response.headers.get('Retry-After') ?? 0) || 0,
    });
}

/** Returns what the server tells of its models, the default first: the entries of /v1/models. */
export async function fetchModels() {
    const response = await fetch('v1/models', { headers: accessHeaders() });
    if (!response.ok) throw await failure(response);
    return (await response.json()).data ?? [];
}
