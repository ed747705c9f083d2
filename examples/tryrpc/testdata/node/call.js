// Calls the provider at the address given with Jayson's own client, and prints what it heard: one
// line of JSON for each call.
'use strict';

const path = require('path');
const jayson = require(path.join(process.env.CLIENTS, 'node_modules', 'jayson'));

const client = jayson.Client.http(process.argv[2]);

function print(err, reply) {
  console.log(JSON.stringify(err ? { failed: String(err) } : reply));
}

function call(method, params) {
  return new Promise((resolve) => {
    client.request(method, params, 'the-id', (err, reply) => {
      print(err, reply && { id: reply.id, result: reply.result, error: reply.error });
      resolve();
    });
  });
}

function batch() {
  const requests = [
    client.request('add', [1, 1], 'one'),
    client.request('sub', [1, 1], 'two'),
    client.request('mul', [2, 2], null), // a notification
  ];
  return new Promise((resolve) => {
    client.request(requests, (err, replies) => {
      print(err, replies && replies.map((r) => r.error ? r.error.code : r.result));
      resolve();
    });
  });
}

(async () => {
  await call('add', [1, 2]);
  await call('mul', { a: 3, b: 4.5 });
  await call('sub', [1, 2]);
  await call('add', [1]);
  await call('add', ['1', 2]);
  await call('add', { a: 1, c: 2 });
  await call('mul', [1e308, 1e308]);
  await batch();
})();
