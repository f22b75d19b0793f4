// A residual network of norms and gated products, differentiated: what passes over backward are tried on.
#pragma once

#include "graph/autodiff.h"
#include "graph/verifier.h"
#include "ops/batch.h"
#include "ops/collective.h"
#include "ops/cross_entropy.h"
#include "ops/elementwise.h"
#include "ops/embedding.h"
#include "ops/linear.h"
#include "ops/pipeline.h"
#include "ops/rms_norm.h"
#include "ops/swiglu.h"
#include "tests/reference/interpreter.h"

namespace trine {

struct SmallModel {
  int layers = 4;
  int tp = 1;                      // above 1: with sequence parallelism
  bool first = true, last = true;  // of a pipeline's stages
};

class SmallModelBuilder {
 public:
  explicit SmallModelBuilder(SmallModel model) : m_(model), b_(Mesh{.tp = model.tp}) {}

  Graph build() {
    const ValueId ids = state("ids", {DType::kI32, {kTokens}}), labels = state("labels", {DType::kI32, {kTokens}});
    b_.set_scope("embedding");
    ValueId x = m_.first ? leave(b_.add(Embedding(), {ids, parameter("embedding", {kVocab, kHidden}, kRows)}))
                         : b_.add(Receive(0, false, activation()), {});
    for (int i = 0; i < m_.layers; ++i) {
      b_.set_scope("layers." + std::to_string(i) + ".ffn");
      x = b_.add(Add(), {x, feed_forward("layers." + std::to_string(i), x)});
    }
    b_.set_scope("head");
    ValueId loss;
    if (m_.last) {
      const ValueId h = enter(norm("norm", x));
      const ValueId logits = b_.add(Linear(), {h, parameter("head", {kVocab, kHidden}, kRows)});
      ValueId stats = b_.add(VocabStats(m_.tp), {logits, labels});
      if (m_.tp > 1) stats = b_.add(Collective(Axis::kTp, {kRows, Placement::invariant()}, 3), {stats});
      loss = b_.add(CrossEntropy(), {stats, labels});
      b_.write(Accumulate(1), {loss}, {b_.add_state({.name = "loss", .type = b_.type(loss)})});
    } else {
      b_.add_many(Send(9, false), {x});
    }
    const ValueId scale = state("loss_scale", {DType::kF32, {1}}), count = state("count", {DType::kI64, {1}});
    const auto seed = [=](Builder& b) { return b.add(LossSeed(), {scale, count}); };
    Graph graph = differentiate(
        b_.finish(), loss,
        {.add = std::make_shared<Add>(), .accumulate = std::make_shared<Accumulate>(1), .seed = seed});
    verify(graph);
    return graph;
  }

 private:
  static constexpr int64_t kTokens = 6, kHidden = 8, kFfn = 10, kVocab = 12;
  static constexpr Placement kRows = Placement::split(0), kWhole = Placement::replicated();

  ValueId state(std::string name, TensorType type) {
    return b_.read(b_.add_state({.name = std::move(name), .type = std::move(type)}));
  }
  ValueId parameter(const std::string& name, Shape shape, Placement on_tp) {
    TensorType type{DType::kF32, std::move(shape)};
    if (m_.tp > 1) type.on(Axis::kTp) = on_tp;
    return b_.read(b_.add_state({.name = name, .type = type, .role = StateRole::kParameter}));
  }
  TensorType activation() const {
    TensorType type{DType::kF32, {kTokens, kHidden}};
    if (m_.tp > 1) type.on(Axis::kTp) = kRows;
    return type;
  }
  ValueId collective(ValueId x, Placement from, Placement to) {
    return m_.tp == 1 ? x : b_.add(Collective(Axis::kTp, {from, to}), {x});
  }
  ValueId enter(ValueId x) { return collective(x, kRows, kWhole); }
  ValueId leave(ValueId x) { return collective(x, Placement::partial(), kRows); }
  ValueId norm(const std::string& name, ValueId x) {
    return b_.add_many(RmsNorm(1e-5f), {x, parameter(name, {kHidden}, kWhole)}).at(0);
  }
  ValueId feed_forward(const std::string& name, ValueId x) {
    const ValueId h = enter(norm(name + ".norm", x));
    const auto gated = b_.add_many(Linear(2), {h, parameter(name + ".gate", {kFfn, kHidden}, kRows),
                                               parameter(name + ".up", {kFfn, kHidden}, kRows)});
    const ValueId product = b_.add(SwiGlu(), {gated[0], gated[1]});
    return leave(b_.add(Linear(), {product, parameter(name + ".down", {kHidden, kFfn}, Placement::split(1))}));
  }

  const SmallModel m_;
  Builder b_;
};

inline Graph make_small_model(SmallModel model) { return SmallModelBuilder(model).build(); }

// Runs a step of two microbatches in f64 on all ranks: the loss and every gradient, by state.
inline std::map<std::string, std::vector<double>> run_small_model(const Graph& graph) {
  reference::Interpreter interpreter(graph);
  const int64_t tokens = graph[graph.state_named("ids")].type.shape[0];
  interpreter.set("ids", reference::random_integers({tokens}, 1, 0, 12));
  interpreter.set("labels", reference::random_integers({tokens}, 2, 0, 12));
  interpreter.set("loss_scale", reference::Tensor({1}, {1}));
  interpreter.set("count", reference::Tensor({1}, {12}));
  uint64_t seed = 10;
  for (const State& state : graph.states())
    if (state.role == StateRole::kParameter)
      interpreter.set(state.name, reference::random_normal(state.type.shape, ++seed, 0.5, 0.2));
  interpreter.run_step(2);
  std::map<std::string, std::vector<double>> results = {{"loss", interpreter.get("loss").data}};
  for (const State& state : graph.states())
    if (state.role == StateRole::kGradient) results[state.name] = interpreter.get(state.name).data;
  return results;
}

}  // namespace trine
