// npm sparkplug-client and sparkplug-payload behind the line protocol of tests/interop/process.py.
"use strict";

const readline = require("readline");
const SparkplugClient = require("sparkplug-client");
const Long = require("long");
const codec = require("sparkplug-payload").get("spBv1.0");

const LONGS = new Set(["Int64", "UInt64", "DateTime"]);
const INTEGERS = new Set(["Int8", "Int16", "Int32", "UInt8", "UInt16", "UInt32"]);

const say = (line) => process.stdout.write(JSON.stringify(line) + "\n");

function valueOf(type, text) {
  if (text === null) return null;
  if (LONGS.has(type)) return Long.fromString(text, type !== "Int64");
  if (INTEGERS.has(type)) return Number(text);
  if (type === "Float" || type === "Double") return Number(text);
  if (type === "Boolean") return text === "true";
  return type === "Bytes" ? Buffer.from(text, "hex") : text;
}

function textOf(value) {
  if (value === null || value === undefined) return null;
  if (value instanceof Uint8Array) return Buffer.from(value).toString("hex");
  return String(value);
}

const metricOf = (byAlias) => (m) => {
  const made = { type: m.type, value: valueOf(m.type, m.value), timestamp: Long.fromNumber(m.timestamp, true) };
  if (m.alias !== undefined) made.alias = m.alias;
  if (!byAlias || m.alias === undefined) made.name = m.name;
  return made;
};

const told = (metrics) =>
  (metrics || []).map((m) => ({
    name: m.name === undefined ? null : m.name,
    alias: m.alias === undefined ? null : Number(m.alias),
    type: m.type === undefined ? null : m.type,
    null: m.value === null,
    value: textOf(m.value),
  }));

let client = null;

function connect(port, group, node, clientId) {
  client = SparkplugClient.newClient({
    serverUrl: `mqtt://127.0.0.1:${port}`,
    username: "",
    password: "",
    groupId: group,
    edgeNode: node,
    clientId,
    version: "spBv1.0",
    publishDeath: true,
  });
  client.on("error", (error) => say({ event: "error", text: String(error) }));
}

const PEER = {
  edge({ port, group, node, metrics, devices }) {
    connect(port, group, node, `${group}/${node}`);
    client.on("ncmd", () => say({ event: "command", topic: `spBv1.0/${group}/NCMD/${node}` }));
    return new Promise((done) => {
      // The library tells the application when births are due; the payloads are the application's.
      client.on("birth", () => {
        const timestamp = Date.now();
        client.publishNodeBirth({ timestamp, metrics: metrics.map(metricOf(false)) });
        for (const [device, listed] of Object.entries(devices)) {
          client.publishDeviceBirth(device, { timestamp, metrics: listed.map(metricOf(false)) });
        }
        done(null);
      });
    });
  },
  data({ device, metrics }) {
    const payload = { timestamp: Date.now(), metrics: metrics.map(metricOf(true)) };
    if (device === null) client.publishNodeData(payload);
    else client.publishDeviceData(device, payload);
  },
  device_death({ device }) {
    client.publishDeviceDeath(device, { timestamp: Date.now() });
  },
  stop() {
    client.stop();
  },
  host({ port, host_id, group }) {
    connect(port, `not-${group}`, host_id, host_id);
    client.on("message", (topic, payload) => {
      const [, , type, , device] = topic.split("/");
      say({ event: "message", type, device: device || null, metrics: told(payload.metrics) });
    });
    return new Promise((done) => {
      client.on("connect", () => client.subscribeTopic(`spBv1.0/${group}/#`, { qos: 0 }, () => done(null)));
    });
  },
  encode({ kind, timestamp, seq, metrics }) {
    const payload = { timestamp: Long.fromNumber(timestamp, true), seq, metrics: metrics.map(metricOf(kind === "DDATA")) };
    return Buffer.from(codec.encodePayload(payload)).toString("hex");
  },
  decode({ payload }) {
    return told(codec.decodePayload(Buffer.from(payload, "hex")).metrics);
  },
};

say({ ok: "ready" });
readline.createInterface({ input: process.stdin }).on("line", async (line) => {
  const { do: what, ...request } = JSON.parse(line);
  try {
    if (PEER[what] === undefined) throw new Error(`the library cannot ${what}`);
    const answer = await PEER[what](request);
    say({ ok: answer === undefined ? null : answer });
  } catch (error) {
    say({ error: `${error.name}: ${error.message}` });
  }
});
