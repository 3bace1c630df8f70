// Serves MCP over HTTP in front of a server that speaks it over stdio: `node bridge.mjs COMMAND...`. Passes each message
// to one process and its answer back, without streams and sessions. Prints its URL. SIGTERM closes the input of the
// process. Then the exit code of the process becomes ours.
import { spawn } from 'node:child_process';
import { createServer } from 'node:http';
import { createInterface } from 'node:readline';

const LAST_WITH_HANDSHAKE = '2025-11-25';
const VERSION = 'io.modelcontextprotocol/protocolVersion';
const HEADER_MISMATCH = -32020;
const METHOD_NOT_FOUND = -32601;

const [command, ...options] = process.argv.slice(2);
const server = spawn(command, options, { stdio: ['pipe', 'pipe', 'inherit'] });
const waiting = new Map();

createInterface({ input: server.stdout }).on('line', (line) => {
    const response = JSON.parse(line);
    const id = JSON.stringify(response.id);
    if (!waiting.has(id)) throw new Error(`nobody waits for this message: ${line}`);
    waiting.get(id)(response);
    waiting.delete(id);
});

function send(message) {
    server.stdin.write(`${JSON.stringify(message)}\n`);
}

function ask(message) {
    const id = JSON.stringify(message.id);
    if (waiting.has(id)) throw new Error(`a request with the id ${id} is running`);
    send(message);
    return new Promise((resolve) => waiting.set(id, resolve));
}

// A web page can send requests to this machine, but not under the name of this machine.
function isLocal({ host, origin }) {
    const { port } = http.address();
    const hosts = [`127.0.0.1:${port}`, `localhost:${port}`];
    return hosts.includes(host) && (!origin || hosts.includes(origin.replace(/^http:\/\//, '')));
}

function isStateless(headers) {
    return headers['mcp-protocol-version'] > LAST_WITH_HANDSHAKE;
}

// Returns the header that does not repeat the message.
function mismatch(headers, { method, params }) {
    if (!isStateless(headers)) return undefined;
    const repeated = { 'mcp-method': method };
    const version = params?._meta?.[VERSION];
    if (version !== undefined) repeated['mcp-protocol-version'] = version;
    if (method === 'tools/call') repeated['mcp-name'] = params?.name;
    return Object.keys(repeated).find((name) => headers[name] !== repeated[name]);
}

// Returns the status and the message of a response.
async function answer(request) {
    if (!isLocal(request.headers)) return [403];
    if (request.url !== '/mcp') return [404];
    if (request.method !== 'POST') return [405];
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    const message = JSON.parse(Buffer.concat(chunks));
    if (message.id === undefined) {
        send(message);
        return [202];
    }

    const header = mismatch(request.headers, message);
    if (header) {
        const error = { code: HEADER_MISMATCH, message: `the header ${header} does not match` };
        return [400, { jsonrpc: '2.0', id: message.id, error }];
    }

    const response = await ask(message);
    if (!response.error || !isStateless(request.headers)) return [200, response];
    return [response.error.code === METHOD_NOT_FOUND ? 404 : 400, response];
}

const http = createServer(async (request, response) => {
    const [status, message] = await answer(request).catch((error) => [400, { message: error.message }]);
    response.writeHead(status, message && { 'Content-Type': 'application/json' });
    response.end(message && JSON.stringify(message));
});
http.listen(0, '127.0.0.1', () => console.log(`http://127.0.0.1:${http.address().port}/mcp`));
process.on('SIGTERM', () => server.stdin.end());
server.on('exit', (code) => process.exit(code ?? 1));
