// @google/genai as its users tune with it; address and key come from GOOGLE_... alone.
// PACKAGE names the version that is meant.
"use strict";

const assert = require("node:assert/strict");
const { readFileSync, statSync } = require("node:fs");
const path = require("node:path");
const { setTimeout: sleep } = require("node:timers/promises");
const { ApiError, GoogleGenAI, JobState } = require(process.env.PACKAGE);

const NEWEST = process.env.PACKAGE === "@google/genai"; // It drops training data, asks at /v1.
const NUMBERS = path.join(__dirname, "numbers.json");
const BASE = "models/gemini-1.0-pro-001";
const EXACT = { temperature: 0 };
const ai = new GoogleGenAI({});
const pairs = JSON.parse(readFileSync(NUMBERS, "utf8"));
const examples = pairs.map((pair) => ({ textInput: pair.text_input, output: pair.output }));

async function _refused(status, words, call) {
  await assert.rejects(call, (error) => {
    assert(error instanceof ApiError, error.stack);
    assert.equal(error.status, status, error.message);
    for (const word of words) assert(error.message.includes(word), error.message);
    return true;
  });
}

async function _collected(pager) {
  const items = [];
  for await (const item of await pager) items.push(item);
  return items;
}

// A job; the training data goes by the road that works in every version.
function _tune(displayName, trainingData, epochCount) {
  const data = trainingData || { examples: { examples: examples.slice(0, 1) } };
  return ai.tunings.tune({
    baseModel: BASE,
    trainingDataset: {},
    config: {
      tunedModelDisplayName: displayName,
      epochCount: epochCount || 1,
      batchSize: 4,
      learningRate: 0.001,
      httpOptions: { extraBody: { tuningTask: { trainingData: data } } },
    },
  });
}

async function _ended(job) {
  const going = [
    JobState.JOB_STATE_QUEUED,
    JobState.JOB_STATE_PENDING,
    JobState.JOB_STATE_RUNNING,
  ];
  while (going.includes(job.state)) {
    await sleep(50);
    job = await ai.tunings.get({ name: job.name });
  }
  return job;
}

let tutored;

// The name of a model tuned as in the tutorial.
function _tuned() {
  return (tutored ||= (async () => {
    const started = NEWEST
      ? _tune("increment", { examples: { examples } }, 5)
      : ai.tunings.tune({
          baseModel: BASE,
          trainingDataset: { examples },
          config: {
            epochCount: 5,
            batchSize: 4,
            learningRate: 0.001,
            tunedModelDisplayName: "increment",
          },
        });
    const job = await _ended(await started);
    assert.equal(job.state, JobState.JOB_STATE_SUCCEEDED);
    assert.equal(job.tunedModel.model, job.name);
    return job.name;
  })());
}

async function models() {
  const listed = await _collected(ai.models.list({ config: { pageSize: 1 } }));
  assert(listed.some((model) => model.name === "models/kamerton-nano-001"));
  const model = await ai.models.get({ model: BASE });
  assert.equal(model.name, BASE);
  await _refused(404, ["models/nothing"], () => ai.models.get({ model: "nothing" }));
}

async function tune() {
  const job = await ai.tunings.get({ name: await _tuned() });
  assert.equal(job.state, JobState.JOB_STATE_SUCCEEDED);
  assert.equal(job.baseModel, BASE);
}

async function listJobs() {
  const name = await _tuned();
  const list = async () => (await _collected(ai.tunings.list())).map((job) => job.name);
  if (NEWEST) await assert.rejects(list); // The SDK refuses.
  else assert((await list()).includes(name));
}

async function trainingDataThatWasDropped() {
  if (!NEWEST) return;
  const call = () => ai.tunings.tune({ baseModel: BASE, trainingDataset: { examples } });
  await _refused(400, ["training_data", "extra_body"], call);
}

async function cancel() {
  const job = await _tune("to be stopped", undefined, 1000);
  await ai.tunings.cancel({ name: job.name });
  assert.equal((await _ended(job)).state, JobState.JOB_STATE_FAILED);
  const ask = () => ai.models.generateContent({ model: job.name, contents: "1" });
  await _refused(400, ["FAILED"], ask);
  await ai.models.delete({ model: job.name });
}

async function tunedModels() {
  const { name } = await _tune("before");
  const listed = await _collected(ai.models.list({ config: { queryBase: false } }));
  assert(listed.some((model) => model.name === name));
  const changed = await ai.models.update({ model: name, config: { displayName: "after" } });
  assert.equal(changed.displayName, "after");
  assert.equal((await ai.models.get({ model: name })).displayName, "after");
  await ai.models.delete({ model: name });
  await _refused(404, [name], () => ai.models.get({ model: name }));
}

async function generateContent() {
  const request = { model: await _tuned(), contents: "LXIII", config: EXACT };
  const response = await ai.models.generateContent(request);
  assert.equal(response.text, "LXIV");
  assert.equal(response.candidates[0].finishReason, "STOP");
  assert(response.usageMetadata.totalTokenCount > 0);
}

async function stream() {
  const contents = "one thousand nine hundred ninety nine";
  const request = { model: await _tuned(), contents, config: EXACT };
  const chunks = await _collected(ai.models.generateContentStream(request));
  assert.equal(chunks.map((chunk) => chunk.text).join(""), "two thousand");
  assert(chunks.length > 1);
}

async function chat() {
  const talk = ai.chats.create({ model: await _tuned(), config: EXACT });
  assert.equal((await talk.sendMessage({ message: "three" })).text, "four");
  const pieces = await _collected(talk.sendMessageStream({ message: "8" }));
  assert(pieces.map((piece) => piece.text).join(""));
}

async function countTokens() {
  const request = { model: await _tuned(), contents: "LXIII" };
  const counted = await ai.models.countTokens(request);
  const used = (await ai.models.generateContent(request)).usageMetadata;
  assert.equal(counted.totalTokens, used.promptTokenCount);
}

async function files() {
  const config = { name: "numbers-3", displayName: "numbers", mimeType: "application/json" };
  const sent = await ai.files.upload({ file: NUMBERS, config });
  assert.equal(sent.name, "files/numbers-3");
  assert.equal(sent.displayName, "numbers");
  assert.equal(Number(sent.sizeBytes), statSync(NUMBERS).size);
  assert.equal((await ai.files.get({ name: "numbers-3" })).sha256Hash, sent.sha256Hash);
  const blob = new Blob(["0123456789".repeat(900_000)], { type: "text/plain" }); // Two pieces.
  const large = await ai.files.upload({ file: blob });
  assert.equal(Number(large.sizeBytes), 9_000_000);
  const listed = (await _collected(ai.files.list({ config: { pageSize: 1 } }))).map((f) => f.name);
  for (const { name } of [sent, large]) {
    assert(listed.includes(name));
    await ai.files.delete({ name });
  }
  await _refused(404, [], () => ai.files.get({ name: "numbers-3" }));
}

async function tuneOnAnUploadedFile() {
  const line = '{"text_input": "1", "output": "2"}\n';
  const file = await ai.files.upload({ file: new Blob([line], { type: "application/jsonl" }) });
  const job = await _ended(await _tune("from a file", { fileUri: file.name }));
  assert.equal(job.state, JobState.JOB_STATE_SUCCEEDED);
  await ai.models.delete({ model: job.name });
  await ai.files.delete({ name: file.name });
}

async function refusals() {
  const stranger = new GoogleGenAI({ apiKey: "none" });
  await _refused(400, ["API key not valid"], () => stranger.models.get({ model: BASE }));
  await _refused(400, ["epoch_count"], () => _tune("too long", undefined, 100_000));
  const other = new GoogleGenAI({ apiKey: process.env.OTHER_KEY });
  const request = { model: await _tuned(), contents: "1" };
  await _refused(403, [], () => other.models.generateContent(request));
}

module.exports = {
  models,
  tune,
  listJobs,
  trainingDataThatWasDropped,
  cancel,
  tunedModels,
  generateContent,
  stream,
  chat,
  countTokens,
  files,
  tuneOnAnUploadedFile,
  refusals,
};
