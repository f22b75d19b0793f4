#include "runtime/parameters.h"

#include <algorithm>
#include <exception>
#include <map>
#include <memory>

#include "base/error.h"
#include "base/rng.h"
#include "checkpoint/hugging_face.h"
#include "parallel/buckets.h"

namespace trine {
namespace {

struct Slot {
  StateId parameter, bucket;
};

std::vector<Slot> owned_parameters(const Graph& graph) {
  std::vector<Slot> slots;
  for (StateId bucket : buckets(graph))
    for (StateId parameter : parameters_in(graph, bucket)) slots.push_back({parameter, bucket});
  return slots;
}

// Where this rank's shard begins in each dim of the logical tensor.
struct ShardBox {
  int64_t first_row = 0, rows = 1, first_column = 0, columns = 1, logical_columns = 1;
};

ShardBox shard_of(const Graph& graph, const TensorView& view, const TensorType& type, Coordinate c) {
  ShardBox box{0, view.rows, 0, view.columns, type.shape.num_columns()};
  const Placement tp = type.on(Axis::kTp);
  if (!tp.is(PlacementKind::kSplit)) return box;
  const int64_t begin = split_begin(type.shape[tp.dim], graph.mesh().tp, c.tp);
  (tp.dim == type.shape.num_dims() - 1 ? box.first_column : box.first_row) = begin;
  return box;
}

void store_rounded(const Backend& backend, std::span<const float> values, DType dtype, std::byte* to) {
  const auto write = [&]<typename T>(T) {
    std::vector<T> rounded(values.size());
    std::transform(values.begin(), values.end(), rounded.begin(), from_float<T>);
    backend.write(std::as_bytes(std::span(rounded)), to);
  };
  if (dtype == DType::kBF16)
    write(BFloat16{});
  else if (dtype == DType::kF16)
    write(Float16{});
  else
    backend.write(std::as_bytes(values), to);
}

// An exception may not leave an OpenMP loop: the first one is kept and thrown after.
template <typename Body>
void parallel_rows(int64_t count, int threads, Body&& body) {
  std::exception_ptr failure;
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
  for (int64_t i = 0; i < count; ++i) {
    try {
      body(i);
    } catch (...) {
#pragma omp critical
      failure = std::current_exception();
    }
  }
  if (failure) std::rethrow_exception(failure);
}

TensorView master_view(const Executor& executor, Slot slot) {
  const Graph& graph = executor.stage().graph;
  TensorView view = executor.view(slot.parameter);
  view.data =
      executor.view(graph.companion(slot.bucket, StateRole::kMaster)).data + graph[slot.parameter].offset * 4;
  view.dtype = DType::kF32;
  return view;
}

}  // namespace

void set_parameters(Executor& executor, const ParameterSource& source, int threads) {
  const Graph& graph = executor.stage().graph;
  const Backend& backend = executor.backend();
  for (StateId bucket : buckets(graph)) {
    for (StateRole role : {StateRole::kMomentum, StateRole::kVariance}) {
      const TensorView moment = executor.view(graph.companion(bucket, role));
      const std::vector<float> zeros(static_cast<size_t>(moment.num_elements()));
      backend.write(std::as_bytes(std::span(zeros)), moment.data);
    }
  }
  for (const Slot& slot : owned_parameters(graph)) {
    const State& state = graph[slot.parameter];
    const TensorView weights = executor.view(slot.parameter), master = master_view(executor, slot);
    const ShardBox box = shard_of(graph, weights, state.type, executor.coordinate());
    // A long vector or whole rows are read in pieces of about this many elements.
    constexpr int64_t kPiece = int64_t{1} << 16;
    const int64_t piece = std::min(box.columns, kPiece), pieces = div_up(box.columns, piece);
    parallel_rows(box.rows * pieces, threads, [&](int64_t i) {
      const int64_t row = i / pieces, column = i % pieces * piece, count = std::min(piece, box.columns - column);
      std::vector<float> values(static_cast<size_t>(count));
      source(state.name, (box.first_row + row) * box.logical_columns + box.first_column + column, values);
      const int64_t at = row * box.columns + column;
      backend.write(std::as_bytes(std::span(values)), master.data + at * 4);
      store_rounded(backend, values, weights.dtype,
                    weights.data + at * static_cast<int64_t>(size_bytes(weights.dtype)));
    });
  }
}

ParameterSource initial_values(const Graph& graph, uint64_t seed) {
  return [&graph, seed](const std::string& name, int64_t begin, std::span<float> out) {
    const Initializer& init = graph[graph.state_named(name)].init;
    switch (init.kind) {
      case Initializer::Kind::kZeros:
        std::fill(out.begin(), out.end(), 0.0f);
        break;
      case Initializer::Kind::kOnes:
        std::fill(out.begin(), out.end(), 1.0f);
        break;
      case Initializer::Kind::kNormal:
        fill_normal(out.data(), begin, static_cast<int64_t>(out.size()), seed, stream_of(name), init.stddev);
    }
  };
}

ParameterSource hugging_face_values(const std::string& folder, const Graph& graph) {
  const auto weights = std::make_shared<const HuggingFaceWeights>(folder);
  std::string problems;
  const auto add = [&](const std::string& text) { problems += "\n  " + text; };
  for (const Slot& slot : owned_parameters(graph)) {
    const State& state = graph[slot.parameter];
    if (!weights->contains(state.name))
      add(state.name + " is missing");
    else if (weights->shape(state.name) != state.type.shape)
      add(fmt::format("{} has shape {}, the model needs {}", state.name, to_string(weights->shape(state.name)),
                      to_string(state.type.shape)));
  }
  for (const std::string& name : weights->names())
    if (!graph.find_state(name).valid() && !name.ends_with("rotary_emb.inv_freq") && name != "lm_head.weight")
      add(name + " is no parameter of this model");
  if (!problems.empty())
    throw DataError(
        fmt::format("[--load-weights] {} does not fit the model:{}\nCheck --model, or leave it out to take the "
                    "model from that folder.",
                    folder, problems));
  return
      [weights](const std::string& name, int64_t begin, std::span<float> out) { weights->read(name, begin, out); };
}

std::vector<float> read_master(const Executor& executor, const std::string& name) {
  const Graph& graph = executor.stage().graph;
  for (const Slot& slot : owned_parameters(graph)) {
    if (graph[slot.parameter].name != name) continue;
    const TensorView view = master_view(executor, slot);
    std::vector<float> values(static_cast<size_t>(view.num_elements()));
    executor.backend().read(view.data, std::as_writable_bytes(std::span(values)));
    return values;
  }
  TRINE_CHECK(false, "no parameter {}", name);
  return {};
}

}  // namespace trine
