// Confirms recorded traffic with the engine of `oav validate-traffic`, operation by operation.
//
// The command finds an exchange's operation by itself, and knows no operation whose path has the namespace as a parameter, or none at
// all. Here the operation is given: `node validate.js DESCRIPTIONS INDEX REPORT` writes what the engine finds.
"use strict";
require("reflect-metadata");
const fs = require("fs");
const path = require("path");
const { LiveValidator } = require("oav/dist/lib/liveValidation/liveValidator");
const { DefaultConfig } = require("oav/dist/lib/util/constants");

async function main(descriptions, index, report) {
  const validator = new LiveValidator({
    checkUnderFileRoot: false,
    loadValidatorInBackground: false,
    directory: descriptions,
    swaggerPathsPattern: ["**/*.json"],
    excludedSwaggerPathsPattern: DefaultConfig.ExcludedExamplesAndCommonFiles,
    git: { shouldClone: false },
  });
  await validator.initialize();
  const known = new Map();
  for (const versions of validator.operationSearcher.cache.values())
    for (const methods of versions.values())
      for (const operations of methods.values())
        for (const one of operations)
          known.set(`${path.resolve(descriptions, one._path._spec._filePath)} ${one.operationId}`, one);
  const found = [];
  for (const { file, description, operation, parameters } of JSON.parse(fs.readFileSync(index))) {
    const { liveRequest, liveResponse } = JSON.parse(fs.readFileSync(file));
    const one = known.get(`${path.resolve(descriptions, description)} ${operation}`);
    const told = (source, code, message, where) => found.push({ file, description, operation, source, code, message, where });
    if (one === undefined) {
      told("description", "NOT_LOADED", "the validator did not load this operation", "");
      continue;
    }
    const names = Object.keys(parameters);
    const info = () => ({
      apiVersion: one._path._spec.info.version,
      operationId: operation,
      validationRequest: { requestUrl: liveRequest.url, requestMethod: liveRequest.method },
      operationMatch: {
        operation: one,
        pathRegex: { _keys: ["", ...names] },
        pathMatch: ["", ...names.map((name) => encodeURIComponent(parameters[name]))],
      },
    });
    for (const [source, result] of [
      ["request", await validator.validateLiveRequest({ ...liveRequest }, {}, info())],
      ["response", await validator.validateLiveResponse(liveResponse, liveRequest, {}, info())],
    ]) {
      for (const error of result.errors) told(source, error.code, error.message, (error.jsonPathsInPayload || []).join(" "));
      if (result.runtimeException) told(source, result.runtimeException.code, result.runtimeException.message, "");
    }
  }
  fs.writeFileSync(report, JSON.stringify(found));
}

main(...process.argv.slice(2)).catch((error) => {
  console.error(error);
  process.exit(2);
});
