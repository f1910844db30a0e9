// Rows that look like the sample model's, and the options that all scripts here have.

export const model = __ENV.MODEL || 'fraud-xgb';
export const features = Number(__ENV.FEATURES || 28);
export const rows = Number(__ENV.ROWS || 1);

// Always the same numbers: a body is made once and sent again and again.
export const values = Array.from({ length: rows * features }, (_, at) => ((at * 37) % 1000) / 100);

// A closed loop of CONNECTIONS (default 8), or an open one of RATE requests per second.
export function scenarios() {
  const duration = __ENV.DURATION || '10s';
  const connections = Number(__ENV.CONNECTIONS || 8);
  const rate = Number(__ENV.RATE || 0);
  const thresholds = { checks: ['rate==1'] };
  // Iterations that found no virtual user free are not sent: that rate would not be the one asked for.
  if (rate > 0) thresholds.dropped_iterations = [`rate<${0.02 * rate}`];
  const closed = { executor: 'constant-vus', vus: connections, duration };
  const open = {
    executor: 'constant-arrival-rate',
    rate,
    timeUnit: '1s',
    preAllocatedVUs: Math.max(connections, 32),
    duration,
  };
  return {
    scenarios: { load: rate > 0 ? open : closed },
    summaryTrendStats: ['med', 'p(90)', 'p(95)', 'p(99)', 'p(99.9)', 'max'],
    thresholds,
  };
}
