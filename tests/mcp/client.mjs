// Uses `secrets mcp` through the TypeScript SDK, as the program of an agent does: `node client.mjs ERA COMMAND PAUSE`.
// PAUSE is a program that may run. It writes its process id to a file next to it, and sleeps. Version 1 of the SDK
// speaks the versions of the protocol with a handshake, version 2 is asked for the stateless one.
import assert from 'node:assert/strict';
import { readFileSync, rmSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

const [era, command, pause] = process.argv.slice(2);
const modules = {
    handshake: ['@modelcontextprotocol/sdk/client/index.js', '@modelcontextprotocol/sdk/client/stdio.js'],
    stateless: ['@modelcontextprotocol/client', '@modelcontextprotocol/client/stdio'],
}[era];
const [{ Client }, { StdioClientTransport }] = await Promise.all(modules.map((name) => import(name)));
const client = new Client({ name: 'test', version: '1' }, { versionNegotiation: { mode: 'auto' } });
client.onerror = (error) => {
    console.error('the client reports an error:', error);
    process.exit(1);
};

// Version 1 also takes the schema of the result.
const call = (name, given, options) =>
    client.callTool({ name, arguments: given }, ...(era === 'handshake' ? [undefined, options] : [options]));

async function until(done, what) {
    for (let i = 0; !done(); i++) {
        assert(i < 200, `not in time: ${what}`);
        await sleep(25);
    }
}

function startedPid() {
    try {
        return Number(readFileSync(`${pause}.pid`, 'utf8'));
    } catch {
        return 0;
    }
}

function isRunning(pid) {
    try {
        return process.kill(pid, 0);
    } catch {
        return false;
    }
}

// Starts a call that takes long.
async function started(options) {
    rmSync(`${pause}.pid`, { force: true });
    const ended = call('secrets_run', { command: pause }, options).then(() => 'answered', (error) => error);
    await until(startedPid, 'the start of the program');
    return [startedPid(), ended];
}

await client.connect(new StdioClientTransport({ command }));
const { tools } = await client.listTools();
assert.deepEqual(
    tools.map((tool) => tool.name),
    ['list', 'check', 'refs', 'render', 'request', 'ask', 'run'].map((name) => `secrets_${name}`),
);

const [listed, asked, ran] = await Promise.all([
    call('secrets_list', {}),
    call('secrets_ask', { tag: 'absent-key' }),
    call('secrets_run', { command: 'printenv STRIPE_KEY' }),
]);
assert.deepEqual(listed.structuredContent.secrets.map((secret) => secret.tag), ['password', 'stripe-key']);
assert.equal(asked.structuredContent.exists, false);
assert.equal(ran.structuredContent.stdout, '‹stripe-key›\n');
await assert.rejects(call('nothing', {}), { code: -32602 });
assert.equal((await call('secrets_ask', { tag: 1 })).isError, true);

const controller = new AbortController();
const [cancelled, answer] = await started({ signal: controller.signal });
controller.abort('enough');
assert.notEqual(await answer, 'answered');
await until(() => !isRunning(cancelled), 'the end of a cancelled program');
assert.equal((await call('secrets_ask', { tag: 'stripe-key' })).structuredContent.exists, true);

const [abandoned] = await started();
await client.close();
assert(!isRunning(abandoned), 'a program runs after the end of the server');
