// stats [R, N, 3]: row r * N + n holds the max of part r, its sum of exp(x - max),
// and the label's logit (0 elsewhere).
#include <algorithm>
#include <cmath>

#include "tests/reference/ops.h"

namespace trine::reference {
namespace {

// Column of the label among this rank's, or -1.
int64_t label_column(const Call& call, double label, int64_t columns) {
  const int64_t column = static_cast<int64_t>(label) - local_begin(call.in_types[0], 1, call.mesh, call.coordinate);
  return label >= 0 && 0 <= column && column < columns ? column : -1;
}

void vocab_stats(const Call& call) {
  const Tensor &logits = call.x(0), &labels = call.x(1);
  Tensor& stats = call.y(0);
  for (int64_t n = 0; n < logits.rows(); ++n) {
    double max = logits(n, 0), sum = 0;
    for (int64_t v = 0; v < logits.columns(); ++v) max = std::max(max, logits(n, v));
    for (int64_t v = 0; v < logits.columns(); ++v) sum += std::exp(logits(n, v) - max);
    const int64_t column = label_column(call, labels(n), logits.columns());
    stats(n, 0) = max;
    stats(n, 1) = sum;
    stats(n, 2) = column < 0 ? 0 : logits(n, column);
  }
}

// The max is a constant: dlogits = dsum exp(x - max) + dtarget [v = label].
void vocab_stats_grad(const Call& call) {
  const Tensor &logits = call.x(0), &labels = call.x(1), &stats = call.x(2), &dstats = call.x(3);
  for (int64_t n = 0; n < logits.rows(); ++n) {
    const int64_t column = label_column(call, labels(n), logits.columns());
    for (int64_t v = 0; v < logits.columns(); ++v)
      call.y(0)(n, v) = dstats(n, 1) * std::exp(logits(n, v) - stats(n, 0)) + (v == column ? dstats(n, 2) : 0);
  }
}

// Of token n over all parts: the max, and the sum of exp(x - max).
std::pair<double, double> combine(const Tensor& stats, int64_t n) {
  const int64_t num_parts = stats.shape[0], num_tokens = stats.shape[1];
  double max = stats(n, 0), sum = 0;
  for (int64_t r = 0; r < num_parts; ++r) max = std::max(max, stats(r * num_tokens + n, 0));
  for (int64_t r = 0; r < num_parts; ++r)
    sum += stats(r * num_tokens + n, 1) * std::exp(stats(r * num_tokens + n, 0) - max);
  return {max, sum};
}

void cross_entropy(const Call& call) {
  const Tensor &stats = call.x(0), &labels = call.x(1);
  double loss = 0;
  for (int64_t n = 0; n < labels.size(); ++n) {
    if (labels(n) < 0) continue;
    const auto [max, sum] = combine(stats, n);
    loss += max + std::log(sum);
    for (int64_t r = 0; r < stats.shape[0]; ++r) loss -= stats(r * labels.size() + n, 2);
  }
  call.y(0)(0) = loss;
}

void cross_entropy_grad(const Call& call) {
  const Tensor &stats = call.x(0), &labels = call.x(1), &dloss = call.x(2);
  Tensor& dstats = call.y(0);
  dstats = Tensor(dstats.shape);
  for (int64_t n = 0; n < labels.size(); ++n) {
    if (labels(n) < 0) continue;
    const auto [max, sum] = combine(stats, n);
    for (int64_t r = 0; r < stats.shape[0]; ++r) {
      const int64_t row = r * labels.size() + n;
      dstats(row, 1) = dloss(0) * std::exp(stats(row, 0) - max) / sum;
      dstats(row, 2) = -dloss(0);
    }
  }
}

}  // namespace

void add_loss_ops(std::map<std::string_view, ReferenceOp>& table) {
  table["vocab_stats"] = vocab_stats;
  table["vocab_stats_grad"] = vocab_stats_grad;
  table["cross_entropy"] = cross_entropy;
  table["cross_entropy_grad"] = cross_entropy_grad;
}

}  // namespace trine::reference
