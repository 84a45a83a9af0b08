// @google/generative-ai as its users call it: it cannot tune, so it asks what TUNED names.
"use strict";

const assert = require("node:assert/strict");
const { statSync } = require("node:fs");
const path = require("node:path");
const { GoogleGenerativeAI, GoogleGenerativeAIFetchError } = require("@google/generative-ai");
const { GoogleAIFileManager } = require("@google/generative-ai/server");

const NUMBERS = path.join(__dirname, "numbers.json");
const options = { baseUrl: process.env.KAMERTON_ENDPOINT };
const ai = new GoogleGenerativeAI(process.env.KAMERTON_API_KEY);

function _model(name) {
  return ai.getGenerativeModel({ model: name, generationConfig: { temperature: 0 } }, options);
}

async function generateContent() {
  const { response } = await _model(process.env.TUNED).generateContent("LXIII");
  assert.equal(response.text(), "LXIV");
  assert.equal(response.candidates[0].safetyRatings.length, 4);
  const { response: plain } = await _model("gemini-1.5-pro").generateContent("1");
  assert.equal(plain.candidates[0].finishReason, "STOP");
}

async function stream() {
  const question = "one thousand nine hundred ninety nine";
  const result = await _model(process.env.TUNED).generateContentStream(question);
  const pieces = [];
  for await (const chunk of result.stream) pieces.push(chunk.text());
  assert.equal(pieces.join(""), "two thousand");
  assert(pieces.length > 1);
  assert.equal((await result.response).text(), "two thousand");
}

async function chat() {
  const history = [
    { role: "user", parts: [{ text: "5" }] },
    { role: "model", parts: [{ text: "6" }] },
  ];
  const talk = _model(process.env.TUNED).startChat({ history });
  assert((await talk.sendMessage("8")).response.text());
  assert.equal((await talk.getHistory()).length, 4);
}

async function countTokens() {
  const model = _model(process.env.TUNED);
  const { response } = await model.generateContent("LXIII");
  const { totalTokens } = await model.countTokens("LXIII");
  assert.equal(totalTokens, response.usageMetadata.promptTokenCount);
}

async function files() {
  const manager = new GoogleAIFileManager(process.env.KAMERTON_API_KEY, options);
  const metadata = { mimeType: "application/json", displayName: "numbers", name: "numbers-4" };
  const { file } = await manager.uploadFile(NUMBERS, metadata);
  assert.equal(file.name, "files/numbers-4");
  assert.equal(file.displayName, "numbers");
  assert.equal(Number(file.sizeBytes), statSync(NUMBERS).size);
  assert.equal((await manager.getFile("numbers-4")).uri, file.uri);
  const { files: listed } = await manager.listFiles({ pageSize: 100 });
  assert(listed.some((found) => found.name === file.name));
  await manager.deleteFile("numbers-4");
  await assert.rejects(manager.getFile("numbers-4"), { status: 404 });
}

async function refusals() {
  const failing = _model("tunedModels/nothing").generateContent("1");
  await assert.rejects(failing, (error) => {
    assert(error instanceof GoogleGenerativeAIFetchError);
    assert.equal(error.status, 404);
    return true;
  });
  const hot = { contents: [{ role: "user", parts: [{ text: "1" }] }] };
  hot.generationConfig = { temperature: 3 };
  await assert.rejects(_model("gemini-1.5-pro").generateContent(hot), { status: 400 });
}

module.exports = { generateContent, stream, chat, countTokens, files, refusals };
