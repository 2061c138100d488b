// Fastify beside the ledger: verifies, inserts the callback, updates its session, in one transaction.
//
//   node app.mjs pg|better-sqlite3
//
// PORT, TELNYX_PUBLIC_KEY and SQLITE_FILE, or PGHOST, PGUSER and PGDATABASE, are in the environment.

import crypto from 'node:crypto';
import fastify from 'fastify';

const INSERT = 'INSERT INTO naive_callback (session_id, event, body, received_at) VALUES ';
const UPDATE = 'UPDATE naive_session SET state = $1, callbacks = callbacks + 1, updated_at = $2 WHERE id = $3';
const ED25519 = Buffer.from('302a300506032b6570032100', 'hex'); // what DER puts before the 32 bytes of a key
const CONNECTIONS = 16;

async function withPg() {
  const { default: pg } = await import('pg');
  const pool = new pg.Pool({ max: CONNECTIONS });
  const insert = { name: 'insert', text: `${INSERT} ($1, $2, $3, $4)` };
  const update = { name: 'update', text: UPDATE };
  return async (session, event, body, now) => {
    const client = await pool.connect();
    try {
      await client.query('BEGIN');
      await client.query({ ...insert, values: [session, event, body, now] });
      await client.query({ ...update, values: [stateOf(event), now, session] });
      await client.query('COMMIT');
    } catch (error) {
      await client.query('ROLLBACK');
      throw error;
    } finally {
      client.release();
    }
  };
}

async function withBetterSqlite3() {
  const { default: Database } = await import('better-sqlite3');
  const db = new Database(process.env.SQLITE_FILE);
  db.pragma('journal_mode = WAL');
  db.pragma('synchronous = FULL');
  const insert = db.prepare(`${INSERT} (?, ?, ?, ?)`);
  const update = db.prepare(UPDATE.replace(/\$\d/g, '?'));
  const store = db.transaction((session, event, body, now) => {
    insert.run(session, event, body, now);
    update.run(stateOf(event), now, session);
  });
  return async (session, event, body, now) => store.immediate(session, event, body, now);
}

function stateOf(event) {
  return event.replace('siprec-', '');
}

const store = await { pg: withPg, 'better-sqlite3': withBetterSqlite3 }[process.argv[2]]();
const key = crypto.createPublicKey({
  key: Buffer.concat([ED25519, Buffer.from(process.env.TELNYX_PUBLIC_KEY, 'base64')]),
  format: 'der',
  type: 'spki',
});
const app = fastify();

app.addContentTypeParser(
  'application/x-www-form-urlencoded', { parseAs: 'buffer' }, (request, body, done) => done(null, body),
);
app.get('/healthz', async (request, reply) => reply.send());
app.post('/callbacks/siprec/:token', async (request, reply) => {
  const { headers, body } = request;
  const signed = Buffer.concat([Buffer.from(`${headers['telnyx-timestamp']}|`), body]);
  const signature = Buffer.from(headers['telnyx-signature-ed25519'], 'base64');
  if (!crypto.verify(null, signed, key, signature)) return reply.code(403).send();
  const event = new URLSearchParams(body.toString()).get('SiprecEvent');
  const now = new Date().toISOString().replace('T', ' ').replace('Z', ''); // UTC, as the tables have it
  await store(request.params.token.split('.')[0], event, body, now);
  return reply.send();
});

await app.listen({ host: '127.0.0.1', port: Number(process.env.PORT) });
