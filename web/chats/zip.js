// Reads ZIP archives (APPNOTE.TXT of PKWARE, without encryption and without Zip64), as far as exports of
// chats need it.

const END = 0x06054b50;
const ENTRY = 0x02014b50;
const END_BYTES = 22;
const ENTRY_BYTES = 46;
const LOCAL_BYTES = 30;
const STORED = 0;
const DEFLATED = 8;
const MAX_BYTES = 200_000_000; // unpacked

async function inflate(packed, limit) {
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream('deflate-raw'));
    const chunks = [];
    let size = 0;
    for (const reader = stream.getReader(); ;) {
        const { done, value } = await reader.read();
        if (done) return new Blob(chunks).arrayBuffer();
        size += value.length;
        if (size > limit) throw new Error('the archive is too large');
        chunks.push(value);
    }
}

/** Returns the texts of the files whose names have that ending; null if the bytes are no archive. */
export async function unzip(bytes, ending) {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    let end = bytes.length - END_BYTES;
    while (end >= 0 && view.getUint32(end, true) !== END) end--;
    if (end < 0 || bytes[0] !== 0x50 || bytes[1] !== 0x4b) return null;
    const texts = [];
    let left = MAX_BYTES;
    let at = view.getUint32(end + 16, true);
    for (let n = view.getUint16(end + 10, true); n > 0; n--) {
        if (view.getUint32(at, true) !== ENTRY) throw new Error('the archive is damaged');
        const method = view.getUint16(at + 10, true);
        const size = view.getUint32(at + 20, true);
        const nameLength = view.getUint16(at + 28, true);
        const local = view.getUint32(at + 42, true);
        const name = new TextDecoder().decode(bytes.subarray(at + ENTRY_BYTES, at + ENTRY_BYTES + nameLength));
        at += ENTRY_BYTES + nameLength + view.getUint16(at + 30, true) + view.getUint16(at + 32, true);
        if (!name.toLowerCase().endsWith(ending)) continue;
        if (method !== STORED && method !== DEFLATED) throw new Error('the archive is packed otherwise');
        const start = local + LOCAL_BYTES + view.getUint16(local + 26, true)
            + view.getUint16(local + 28, true);
        const packed = bytes.subarray(start, start + size);
        const data = method === STORED ? packed : await inflate(packed, left);
        left -= data.byteLength;
        texts.push(new TextDecoder().decode(data));
    }
    return texts;
}
