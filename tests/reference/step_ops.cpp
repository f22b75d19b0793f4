// What happens around the model: the batch, the norm, the optimizer.
#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "ops/batch.h"
#include "ops/optimizer.h"
#include "tests/reference/ops.h"

namespace trine::reference {
namespace {

void load_batch(const Call& call) {
  TRINE_CHECK(call.host != nullptr, "load_batch needs the host's batch");
  call.y(0) = shard(call.host->ids, call.out_types[0], call.mesh, call.coordinate);
  call.y(1) = shard(call.host->labels, call.out_types[1], call.mesh, call.coordinate);
}

void load_scalars(const Call& call) {
  TRINE_CHECK(call.host != nullptr, "load_scalars needs the host's numbers");
  call.y(0)(0) = call.host->lr;
  call.y(1)(0) = call.host->loss_scale;
}

void clear(const Call& call) { call.y(0) = Tensor(call.y(0).shape); }

void take_microbatch(const Call& call) {
  const int64_t count = call.as<TakeMicrobatch>().num_tokens;
  call.y(0) = slice(call.x(0), 0, call.microbatch * count, count);
}

void count_valid(const Call& call) {
  const Tensor& labels = call.x(0);
  call.y(0)(0) =
      static_cast<double>(std::count_if(labels.data.begin(), labels.data.end(), [](double l) { return l >= 0; }));
}

void loss_seed(const Call& call) { call.y(0)(0) = call.x(0)(0) / call.x(1)(0); }

// The reference keeps the whole sum in the first bin: what bins mean is the kernels' affair.
void squared_norm(const Call& call) {
  if (call.as<SquaredNorm>().first) call.y(0) = Tensor(call.y(0).shape);
  call.y(0)(0) += dot(call.x(0), call.x(0));
}

void clip_gradients(const Call& call) {
  const size_t num_bins = call.in.size() - 2;
  const double max_norm = call.as<ClipGradients>().max_norm, loss_scale = call.x(num_bins)(0),
               loss = call.x(num_bins + 1)(0);
  double squares = 0;
  for (size_t i = 0; i < num_bins; ++i)
    for (double bin : call.x(i).data) squares += bin;
  const double grad_norm = std::sqrt(squares) / loss_scale;
  const bool apply = std::isfinite(grad_norm) && std::isfinite(loss);
  call.y(0)(0) = grad_norm;
  const double clip = max_norm > 0 ? std::min(1.0, max_norm / (grad_norm + 1e-6)) : 1.0;
  call.y(1)(0) = apply ? clip / loss_scale : 0;
  call.y(2)(0) = apply;
  call.y(3)(0) += apply;
}

void adamw(const Call& call) {
  const auto& op = call.as<AdamW>();
  const Tensor& grad = call.x(0);
  const double lr = call.x(1)(0), factor = call.x(2)(0), step = call.x(4)(0);
  const double beta1 = op.beta1, beta2 = op.beta2, eps = op.eps, decay = op.weight_decay;
  if (call.x(3)(0) == 0) return;
  Tensor &master = call.y(0), &momentum = call.y(1), &variance = call.y(2), &weights = call.y(3);
  for (int64_t i = 0; i < grad.size(); ++i) {
    const double g = grad(i) * factor;
    momentum(i) = beta1 * momentum(i) + (1 - beta1) * g;
    variance(i) = beta2 * variance(i) + (1 - beta2) * g * g;
    const double m = momentum(i) / (1 - std::pow(beta1, step)), v = variance(i) / (1 - std::pow(beta2, step));
    master(i) -= lr * decay * master(i) + lr * m / (std::sqrt(v) + eps);
    weights(i) = master(i);
  }
}

}  // namespace

void add_step_ops(std::map<std::string_view, ReferenceOp>& table) {
  table["load_batch"] = load_batch;
  table["load_scalars"] = load_scalars;
  table["clear"] = clear;
  table["take_microbatch"] = take_microbatch;
  table["count_valid"] = count_valid;
  table["loss_seed"] = loss_seed;
  table["squared_norm"] = squared_norm;
  table["clip_gradients"] = clip_gradients;
  table["adamw"] = adamw;
}

}  // namespace trine::reference
