// Reads dotenv files with one of npm's readers. stdin has the length (32 bits, little-endian) and the bytes of each file.
// stdout gets a byte for each file, 1 if it has a variable `A`, and the length and bytes of the value.
const [reader] = process.argv.slice(2);

const read = {
    node: (text) => require('util').parseEnv(text),
    'npm-dotenv': (text) => require('dotenv').parse(text),
    vite: (text) =>
        require('dotenv-expand').expand({ parsed: require('dotenv').parse(text), processEnv: {}, ignoreProcessEnv: true })
            .parsed,
    nextjs: (text) => {
        delete process.env.A;
        const next = require('@next/env');
        next.resetEnv?.();
        const silent = { info() {}, error() {} };
        return next.processEnv([{ path: 'f', contents: text, env: {} }], '.', silent, true)[1] ?? process.env;
    },
}[reader];

const input = require('fs').readFileSync(0);
const output = [];
for (let at = 0; at < input.length; ) {
    const length = input.readUInt32LE(at);
    const text = input.subarray(at + 4, at + 4 + length).toString('utf8');
    at += 4 + length;

    const value = read(text).A;
    const bytes = Buffer.from(value ?? '', 'utf8');
    const head = Buffer.alloc(5);
    head[0] = value === undefined ? 0 : 1;
    head.writeUInt32LE(bytes.length, 1);
    output.push(head, bytes);
}
process.stdout.write(Buffer.concat(output));
