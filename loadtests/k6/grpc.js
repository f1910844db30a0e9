// ModelInfer over gRPC. With `hedgerow serve models` running:
//
//   k6 run -e MODEL=fraud-xgb -e FEATURES=28 -e ROWS=64 -e RAW=1 loadtests/k6/grpc.js
//
// RAW=1 sends the numbers as bytes. Also: ADDRESS (default 127.0.0.1:8081), CONNECTIONS, RATE,
// DURATION; see rows.js.

import grpc from 'k6/net/grpc';
import encoding from 'k6/encoding';
import { check } from 'k6';
import { features, model, rows, scenarios, values } from './rows.js';

const client = new grpc.Client();
client.load(['../../proto'], 'inference.proto');

const tensor = { name: 'input', datatype: 'FP32', shape: [rows, features] };
const request = { model_name: model, inputs: [tensor] };
if (__ENV.RAW) {
  request.raw_input_contents = [encoding.b64encode(new Float32Array(values).buffer)];
} else {
  tensor.contents = { fp32_contents: values };
}

export const options = scenarios();

let connected = false;

export default function () {
  if (!connected) {
    client.connect(__ENV.ADDRESS || '127.0.0.1:8081', { plaintext: true });
    connected = true;
  }
  const response = client.invoke('inference.GRPCInferenceService/ModelInfer', request);
  check(response, { 'status is OK': (it) => it.status === grpc.StatusOK });
}
