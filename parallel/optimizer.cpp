#include "parallel/optimizer.h"

#include "graph/builder.h"
#include "ops/collective.h"
#include "ops/elementwise.h"
#include "ops/optimizer.h"
#include "ops/pipeline.h"
#include "parallel/buckets.h"

namespace trine {
namespace {

class Epilogue {
 public:
  Epilogue(Graph graph, const OptimizerOptions& options) : options_(options), b_(std::move(graph)) {}

  Graph build() {
    b_.enter(Region::kEpilogue);
    sum_tied_gradients();
    for (StateId weights : buckets(b_.graph())) reduced_.push_back({weights, reduce_gradient(weights)});
    exchange_tied_gradient();
    clip();
    for (const auto& [weights, gradient] : reduced_) update(weights, gradient);
    exchange_tied_weights();
    return b_.finish();
  }

 private:
  struct Reduced {
    StateId weights, gradient;
  };

  // A parameter that is a view of another one adds its gradient to its owner's.
  void sum_tied_gradients() {
    for (const State& state : b_.graph().states()) {  // none is added here
      if (state.role != StateRole::kGradient || state.storage.valid() || !state.parameter.valid()) continue;
      const State& parameter = b_.graph()[state.parameter];
      if (!parameter.storage.valid()) continue;
      const StateId owner = b_.graph().companion(parameter.storage, StateRole::kGradient);
      b_.set_scope(parameter.name);
      b_.write(Accumulate(state.type.shape.num_dims(), false), {state.value}, {owner});
    }
  }

  // The bucket of a tied embedding that the last stage uses too, on the first and the last stage.
  StateId tied_bucket() const {
    for (const Reduced& bucket : reduced_)
      if (b_.graph()[bucket.weights].tie == Tie::kOwner) return bucket.weights;
    return {};
  }

  // The last stage sends what it has reduced over its ranks; the first adds it to its own.
  void exchange_tied_gradient() {
    b_.set_scope("tied embedding");
    const int last = b_.graph().mesh().pp - 1;
    if (const StateId copy = tied_copy(b_.graph()); copy.valid())
      b_.write(SendState(0), {b_.read(reduce_gradient(copy))}, {});
    if (const StateId owner = tied_bucket(); owner.valid()) {
      StateId own;
      for (const Reduced& bucket : reduced_)
        if (bucket.weights == owner) own = bucket.gradient;
      const TensorType type = b_.graph()[own].type;
      const StateId received =
          b_.add_state({.name = "grad.from_last_stage", .type = type, .role = StateRole::kBuffer});
      b_.write(ReceiveState(last, type), {}, {received});
      b_.write(Accumulate(1, false), {b_.read(received)}, {own});
    }
  }

  void exchange_tied_weights() {
    b_.set_scope("tied embedding");
    if (const StateId copy = tied_copy(b_.graph()); copy.valid())
      b_.write(ReceiveState(0, b_.graph()[copy].type), {}, {copy});
    if (const StateId owner = tied_bucket(); owner.valid())
      b_.write(SendState(b_.graph().mesh().pp - 1), {b_.read(owner)}, {});
  }

  // The same storage with another placement on `axis`, without moving anything.
  StateId view(StateId of, Axis axis, Placement placement, const std::string& what) {
    State state{
        .name = b_.graph()[of].name + what, .type = b_.graph()[of].type, .role = StateRole::kView, .storage = of};
    state.type.on(axis) = placement;
    return b_.add_state(std::move(state));
  }

  // The collective that gives `from` the placement of `to` on `axis`. In place where `to` is a view of `from`, or
  // the other way round.
  void move(StateId from, StateId to, Axis axis, DType wire = DType::kF32) {
    const Transition change{b_.graph()[from].type.on(axis), b_.graph()[to].type.on(axis)};
    Collective collective(axis, change, b_.graph()[from].type.shape.num_dims(), true);
    if (b_.graph()[from].type.dtype == DType::kF32) collective.wire = wire;
    b_.write(std::move(collective), {b_.read(from)}, {to});
  }

  // Sums a state over tp and dp where it is partial; over dp a bucket of a sharded optimizer only gets its share.
  StateId reduce(StateId state, bool shard_over_dp = false, DType wire = DType::kF32) {
    for (Axis axis : {Axis::kTp, Axis::kDp}) {
      if (!b_.graph()[state].type.on(axis).is(PlacementKind::kPartial)) continue;
      const bool shard = shard_over_dp && axis == Axis::kDp;
      state = sum_over(state, axis, shard ? Placement::split(0) : Placement::invariant(),
                       axis == Axis::kDp ? wire : DType::kF32);
    }
    return state;
  }

  // Each stage has a part of what concerns the whole model.
  StateId reduce_over_stages(StateId state) {
    if (b_.graph().mesh().pp == 1) return state;
    return sum_over(view(state, Axis::kPp, Placement::partial(), ".of_stage"), Axis::kPp, Placement::invariant(),
                    DType::kF32);
  }

  StateId sum_over(StateId state, Axis axis, Placement to, DType wire) {
    const StateId sum = view(state, axis, to, fmt::format(".over_{}", name(axis)));
    move(state, sum, axis, wire);
    return sum;
  }

  StateId companion(StateId weights, StateRole role) const { return b_.graph().companion(weights, role); }

  StateId reduce_gradient(StateId weights) {
    b_.set_scope("gradients");
    return reduce(companion(weights, StateRole::kGradient), options_.shard_over_dp, options_.wire);
  }

  StateId scalar(const char* name, DType dtype) {
    return b_.add_state({.name = name, .type = {dtype, {1}}, .role = StateRole::kScalar});
  }
  ValueId named(const char* name) const { return b_.read(b_.graph().state_named(name)); }

  // One set of bins for each placement of buckets: what is split over ranks is summed over
  // them, what all hold counts once.
  std::vector<ValueId> square_norms() {
    std::vector<StateId> bins;
    for (const Reduced& bucket : reduced_) {
      TensorType type{DType::kI64, {SquaredNorm::kNumBins}};
      for (Axis axis : kAxes)
        if (b_.graph()[bucket.gradient].type.on(axis).is(PlacementKind::kSplit))
          type.on(axis) = Placement::partial();
      StateId home;
      for (StateId candidate : bins)
        if (b_.graph()[candidate].type == type) home = candidate;
      const bool first = !home.valid();
      if (first)
        bins.push_back(
            home = b_.add_state(
                {.name = fmt::format("step.norm_bins.{}", bins.size()), .type = type, .role = StateRole::kScalar}));
      b_.write(SquaredNorm(first), {b_.read(bucket.gradient)}, {home});
    }
    std::vector<ValueId> sums;
    for (StateId state : bins) sums.push_back(b_.read(reduce_over_stages(reduce(state))));
    return sums;
  }

  void clip() {
    b_.set_scope("norm");
    std::vector<ValueId> inputs = square_norms();
    const int num_bins = static_cast<int>(inputs.size());
    inputs.push_back(named("step.loss_scale"));
    inputs.push_back(b_.read(reduce_over_stages(reduce(b_.graph().state_named("step.loss_sum")))));
    const StateId norm = scalar("step.grad_norm", DType::kF32);
    factor_ = scalar("step.factor", DType::kF32);
    apply_ = scalar("step.apply", DType::kI32);
    step_ = scalar("step.adam_step", DType::kI32);
    b_.write(ClipGradients(options_.clip, num_bins), inputs, {norm, factor_, apply_, step_});
  }

  void update(StateId weights, StateId gradient) {
    b_.set_scope("adamw");
    AdamW adamw;
    adamw.beta1 = options_.beta1, adamw.beta2 = options_.beta2, adamw.eps = options_.eps;
    adamw.weight_decay = b_.graph()[weights].weight_decay ? options_.weight_decay : 0.0f;
    adamw.compute_dtype = b_.graph()[weights].type.dtype;
    const StateId master = companion(weights, StateRole::kMaster);
    // The part of the weights that this rank updates, and the way back to the placement that compute reads.
    std::vector<std::pair<StateId, Axis>> way;
    StateId own = weights;
    for (Axis axis : {Axis::kTp, Axis::kDp}) {
      if (!b_.graph()[own].type.on(axis).is(PlacementKind::kReplicated)) continue;
      way.emplace_back(own, axis);
      own = view(own, axis, b_.graph()[master].type.on(axis), fmt::format(".own_{}", name(axis)));
    }
    b_.write(adamw, {b_.read(gradient), named("step.lr"), b_.read(factor_), b_.read(apply_), b_.read(step_)},
             {master, companion(weights, StateRole::kMomentum), companion(weights, StateRole::kVariance), own});
    for (; !way.empty(); way.pop_back()) {
      move(own, way.back().first, way.back().second);
      own = way.back().first;
    }
  }

  const OptimizerOptions options_;
  Builder b_;
  std::vector<Reduced> reduced_;
  StateId factor_, apply_, step_;
};

}  // namespace

Graph add_optimizer(Graph graph, const OptimizerOptions& options) {
  return Epilogue(std::move(graph), options).build();
}

}  // namespace trine
