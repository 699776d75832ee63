// Follow the builds with the stock client for Node: first what happened after a sequence, then what happens.

import { jetstream } from "@nats-io/jetstream";
import { connect } from "@nats-io/transport-node";

const { hostname, port, username, password } = new URL(process.env.HEADRACE_NATS_URL);
const login = username ? { user: username, pass: password } : {};
const bus = await connect({ servers: `${hostname}:${port || 4222}`, maxReconnectAttempts: -1, ...login });
const start = { deliver_policy: "by_start_sequence", opt_start_seq: Number(process.argv[2] ?? 0) + 1 };
const consumer = await jetstream(bus).consumers.get("builds", { filter_subjects: "evt.builds.>", ...start });
for await (const event of await consumer.consume()) {
  console.log(event.seq, event.subject, event.string());
}
