#include "runtime/generation/generator.h"

#include <algorithm>
#include <exception>

#include "base/error.h"
#include "runtime/state/parameter_slots.h"

namespace trine {
namespace {

Coordinate coordinate_of(const Communicator* tp) {
  Coordinate coordinate;
  if (tp != nullptr) coordinate.tp = tp->rank();
  return coordinate;
}

template <typename T>
void widen(std::span<const std::byte> bytes, std::vector<float>& out) {
  const auto* values = reinterpret_cast<const T*>(bytes.data());
  out.resize(bytes.size() / sizeof(T));
  std::transform(values, values + out.size(), out.begin(), [](T value) { return to_float(value); });
}

}  // namespace

Generator::Generator(const InferencePlan& plan, Backend& backend, Communicator* tp)
    : plan_(plan), backend_(backend), tp_(tp), coordinate_(coordinate_of(tp)) {
  TRINE_CHECK(plan.mesh().tp == (tp ? tp->size() : 1), "a plan for tp {} on {} ranks", plan.mesh().tp,
              tp ? tp->size() : 1);
  check_device_of_plan(plan.memory, backend);
  memory_ = backend.allocate(plan.memory.total_bytes());
  for (const Node& node : plan.graph.nodes()) chunks_[static_cast<size_t>(node.chunk)].push_back(prepare(node));
}

TensorView Generator::view(StateId id) const {
  const State& state = plan_.graph[id];
  const Shape shape = local_shape(state.type, plan_.mesh(), coordinate_);
  return {memory_->data() + plan_.memory.state_offsets[static_cast<size_t>(id.index)], state.type.dtype,
          shape.num_rows(), shape.num_columns(), shape.num_columns()};
}

TensorView Generator::view(ValueId id) const {
  const Value& value = plan_.graph[id];
  if (value.state.valid()) return view(value.state);
  const Shape shape = local_shape(value.type, plan_.mesh(), coordinate_);
  const ValuePlace& place = plan_.memory.values[static_cast<size_t>(id.index)];
  return {memory_->data() + plan_.memory.address(place, 0), value.type.dtype, shape.num_rows(), shape.num_columns(),
          place.row_stride};
}

Generator::Instruction Generator::prepare(const Node& node) const {
  Instruction instruction;
  for (ValueId id : node.inputs) instruction.inputs.push_back(view(id));
  for (ValueId id : node.outputs) instruction.outputs.push_back(view(id));
  for (StateId id : node.writes) instruction.outputs.push_back(view(id));
  if (node.op->is_view()) return instruction;
  const Types input_types = plan_.graph.input_types(node), output_types = plan_.graph.output_types(node);
  instruction.kernel =
      backend_.kernels().make({*node.op, instruction.inputs, instruction.outputs, plan_.mesh(), coordinate_,
                               plan_.threads, plan_.memory.workspace_bytes, input_types, output_types, tp_});
  return instruction;
}

void Generator::set_parameters(const ParameterSource& source) {
  for (size_t i = 0; i < plan_.graph.states().size(); ++i) {
    const State& state = plan_.graph.states()[i];
    if (state.role == StateRole::kParameter) set_parameter(state, view(StateId{static_cast<int32_t>(i)}), source);
  }
}

// Row by row of the shard.
void Generator::set_parameter(const State& state, const TensorView& shard, const ParameterSource& source) {
  const Shape& whole = state.type.shape;
  const Placement tp = state.type.on(Axis::kTp);
  int64_t first_row = 0, first_column = 0;
  if (tp.is(PlacementKind::kSplit))
    (tp.dim == whole.num_dims() - 1 ? first_column : first_row) =
        split_begin(whole[tp.dim], plan_.mesh().tp, coordinate_.tp);
  std::exception_ptr failure;  // may not leave the loop of an OpenMP team
#pragma omp parallel for schedule(static) num_threads(plan_.threads) if (plan_.threads > 1)
  for (int64_t row = 0; row < shard.rows; ++row) {
    try {
      std::vector<float> values(static_cast<size_t>(shard.columns));
      source(state.name, (first_row + row) * whole.num_columns() + first_column, values);
      store_rounded(backend_, values, shard.dtype,
                    shard.data + row * shard.row_stride * static_cast<int64_t>(size_bytes(shard.dtype)));
    } catch (...) {
#pragma omp critical
      failure = std::current_exception();
    }
  }
  if (failure) std::rethrow_exception(failure);
}

void Generator::write(const char* state, std::span<const int32_t> values) {
  backend_.write(std::as_bytes(values), view(plan_.graph.state_named(state)).data);
}

void Generator::run(int chunk, std::span<const int32_t> ids, const char* ids_state) {
  const int32_t position = static_cast<int32_t>(position_), last_row = static_cast<int32_t>(ids.size() - 1);
  write(ids_state, ids);
  write(inference_state::kPosition, {&position, 1});
  write(inference_state::kLastRow, {&last_row, 1});
  const std::span<std::byte> workspace(memory_->data() + plan_.memory.workspace_begin(),
                                       static_cast<size_t>(plan_.memory.workspace_bytes));
  for (const Instruction& instruction : chunks_[static_cast<size_t>(chunk)])
    if (instruction.kernel)
      instruction.kernel({.inputs = instruction.inputs, .outputs = instruction.outputs, .workspace = workspace});
  position_ += std::ssize(ids);
}

std::span<const float> Generator::prefill(std::span<const int32_t> ids) {
  TRINE_CHECK(!ids.empty(), "a prefill of no tokens");
  const auto block = static_cast<size_t>(plan_.shape.block);
  for (size_t begin = 0; begin < ids.size(); begin += block)
    run(kPrefillChunk, ids.subspan(begin, std::min(block, ids.size() - begin)), inference_state::kBlockIds);
  return gather_logits(kPrefillChunk);
}

std::span<const float> Generator::decode(int32_t id) {
  run(kDecodeChunk, {&id, 1}, inference_state::kTokenId);
  return gather_logits(kDecodeChunk);
}

std::span<const float> Generator::gather_logits(int chunk) {
  const TensorView own = view(plan_.logits[static_cast<size_t>(chunk)]);
  const size_t item = size_bytes(own.dtype);
  std::vector<std::byte> shard(static_cast<size_t>(own.columns) * item);
  backend_.read(own.data, shard);
  if (tp_ != nullptr) {
    gathered_.resize(static_cast<size_t>(plan_.model.vocab) * item);
    tp_->all_gather(shard.data(), gathered_.data(), plan_.model.vocab, own.dtype);
  } else {
    gathered_ = std::move(shard);
  }
  if (own.dtype == DType::kBF16)
    widen<BFloat16>(gathered_, logits_);
  else if (own.dtype == DType::kF16)
    widen<Float16>(gathered_, logits_);
  else
    widen<float>(gathered_, logits_);
  return logits_;
}

}  // namespace trine
