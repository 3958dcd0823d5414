// SPDX-License-Identifier: Apache-2.0
//
// What tests/run_imap_clients has imapflow do. It says "now WORD" when the other side is to do
// something, waits for what the server tells of it, and at the end prints what it saw as JSON.
const { ImapFlow } = require('imapflow');
const fs = require('fs');

const o = JSON.parse(process.argv[2]);
const options = { host: 'localhost', port: o.port, secure: true, logger: false, qresync: true,
  auth: { user: o.address, pass: o.password }, tls: { ca: fs.readFileSync(o.ca) } };
const now = word => process.stdout.write(`now ${word}\n`);
const event = (client, name, wanted) => new Promise(resolve => {
  const listen = e => { if (!wanted || wanted(e)) { client.off(name, listen); resolve(e); } };
  client.on(name, listen);
});

async function read(client, out) {
  out.special = (await client.list()).map(b => b.specialUse).filter(Boolean).sort();
  await client.mailboxCreate(['flow', 'Übung']);
  for (const m of o.messages)
    await client.append('INBOX', m, ['\\Seen'], new Date('2020-02-03T04:05:06Z'));
  const box = await client.mailboxOpen('INBOX');
  out.exists = box.exists;
  out.compressed = !!client._inflate;
  out.subjects = [];
  for await (const m of client.fetch('1:*', { envelope: true, bodyStructure: true, uid: true,
    flags: true, threadId: true, size: true }))
    out.subjects.push(m.envelope.subject);
  out.source = (await client.fetchOne('*', { source: true })).source.length;
  const part = await client.download('2', '2');
  const pieces = [];
  for await (const piece of part.content) pieces.push(piece);
  out.part = { type: part.meta.contentType, name: part.meta.filename,
    text: Buffer.concat(pieces).toString() };
  out.many = (await client.downloadMany('2', ['1', '2']))['1'].content.toString();
  out.quota = (await client.getQuota('INBOX')).path;
}

async function search(client, out) {
  out.found = {
    body: await client.search({ body: 'nädel' }),
    or: await client.search({ or: [{ subject: 'three' }, { seen: false }] }),
    header: await client.search({ header: { 'x-flow': 'odd "value"' } }),
    before: await client.search({ before: '2020-02-04', not: { body: 'nädel' } }),
    none: await client.search({ text: 'absent' }, { uid: true }),
  };
}

async function change(client, out) {
  await client.messageFlagsAdd('1', ['\\Flagged', '$Label1']);
  out.flags = [...(await client.fetchOne('1', { flags: true })).flags].sort();
  out.copied = (await client.messageCopy('1:2', 'Archive')).uidMap.size;
  out.moved = (await client.messageMove('3', 'flow/Übung')).uidMap.size;
  out.deleted = await client.messageDelete('2');
  out.left = client.mailbox.exists;
  out.status = (await client.status('flow/Übung', { messages: true })).messages;
  await client.mailboxRename(['flow', 'Übung'], ['flow', '日本']);
  await client.mailboxUnsubscribe('flow');
  out.names = (await client.list()).map(b => b.path).filter(p => p.startsWith('flow/'));
}

// CONDSTORE: what changed since; what was changed meanwhile is not stored over.
async function condstore(client, out) {
  const since = client.mailbox.highestModseq;
  const told = event(client, 'flags', e => e.flags.has('\\Answered'));
  now('answer');
  client.idle();
  await told;
  const rows = await client.fetchAll('1:*', { uid: true, flags: true }, { changedSince: since });
  out.changed = rows.map(m => [m.uid, m.flags.has('\\Answered')]);
  await client.messageFlagsAdd('1:*', ['never'], { unchangedSince: since });
  out.kept = [...(await client.fetchOne('1', { flags: true })).flags].includes('never');
}

// IDLE: a delivery and an expunge; then away, and QRESYNC tells what happened.
async function resync(client, out) {
  const exists = event(client, 'exists');
  client.idle();
  now('deliver');
  out.told = (await exists).count;
  const gone = event(client, 'expunge');
  client.idle();
  now('expunge');
  const e = await gone;
  out.gone = { vanished: e.vanished, uid: e.uid };
  const { uidValidity, highestModseq } = client.mailbox;
  await client.mailboxClose();
  now('more');
  const again = new ImapFlow(options);
  await again.connect();
  const seen = [], flags = [];
  again.on('expunge', x => seen.push([x.uid, x.earlier]));
  again.on('flags', x => flags.push([x.uid, x.flags.has('\\Draft')]));
  await new Promise(resolve => process.stdin.once('data', resolve)); // it is done
  const box = await again.mailboxOpen('INBOX', { uidValidity, changedSince: highestModseq });
  await again.noop();
  out.resync = { seen, flags, exists: box.exists };
  await again.logout();
}

(async () => {
  const client = new ImapFlow(options);
  const out = {};
  await client.connect();
  for (const step of [read, search, change, condstore, resync]) await step(client, out);
  await client.logout();
  console.log(JSON.stringify(out));
  process.exit(0);
})().catch(e => { console.error(e, e.response); process.exit(1); });
