const { ORIGIN, API_KEY, CLIENT_SECRET, STREAM_TOKEN } = process.env;
console.log(JSON.stringify({ environment: process.env, arguments: process.argv }));

const headers = { authorization: `Bearer ${API_KEY}` };
const answers = await Promise.all(
  Array.from({ length: 10 }, (_, n) => fetch(`${ORIGIN}/echo?n=${n}`, { headers })),
);
for (const answer of answers) {
  console.log('get', answer.status, await answer.text(), Object.fromEntries(answer.headers));
}

const posted = await fetch(`${ORIGIN}/echo?json`, {
  method: 'POST',
  headers: { 'content-type': 'application/json' },
  body: JSON.stringify({ client_secret: CLIENT_SECRET, scope: 'all' }),
});
console.log('post', posted.status, await posted.text());

const socket = new WebSocket(`${ORIGIN.replace('https', 'wss')}/ws`);
const message = JSON.stringify({ token: STREAM_TOKEN });
await new Promise((done, failed) => {
  socket.onopen = () => socket.send(message);
  socket.onerror = failed;
  socket.onmessage = ({ data }) => {
    console.log('message', data);
    if (data === message) socket.close();
  };
  socket.onclose = done;
});
