// The Open Inference Protocol over REST. With `hedgerow serve models` running:
//
//   k6 run -e MODEL=fraud-xgb -e FEATURES=28 -e ROWS=1 loadtests/k6/http.js
//
// Also: ADDRESS (default http://127.0.0.1:8080), CONNECTIONS, RATE, DURATION; see rows.js.

import http from 'k6/http';
import { check } from 'k6';
import { features, model, rows, scenarios, values } from './rows.js';

const url = `${__ENV.ADDRESS || 'http://127.0.0.1:8080'}/v2/models/${model}/infer`;
const tensor = { name: 'input', datatype: 'FP32', shape: [rows, features], data: values };
const body = JSON.stringify({ inputs: [tensor] });
const params = { headers: { 'content-type': 'application/json' } };

export const options = scenarios();

export default function () {
  const response = http.post(url, body, params);
  check(response, { 'status is 200': (it) => it.status === 200 });
}
