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

std::vector<Slot> parameters_of(const Graph& graph, const std::vector<StateId>& of_buckets) {
  std::vector<Slot> slots;
  for (StateId bucket : of_buckets)
    for (StateId parameter : parameters_in(graph, bucket)) slots.push_back({parameter, bucket});
  return slots;
}

std::vector<Slot> owned_parameters(const Graph& graph) { return parameters_of(graph, buckets(graph)); }

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

// The f32 masters that this rank has of a parameter: elements [first, end) of its shard, row-major.
struct MasterRange {
  int64_t first = 0, end = 0;
  std::byte* data = nullptr;  // of element `first`

  // Calls f(begin, end) with the part of [begin, begin + count) that lies here.
  template <typename F>
  void overlap(int64_t begin, int64_t count, F&& f) const {
    const int64_t from = std::max(begin, first), to = std::min(begin + count, end);
    if (from < to) f(from, to);
  }
};

MasterRange masters_of(const Executor& executor, Slot slot, int64_t num_elements) {
  const Graph& graph = executor.stage().graph;
  const StateId state = graph.companion(slot.bucket, StateRole::kMaster);
  if (!state.valid()) return {};  // a copy of a tied embedding
  const TensorView masters = executor.view(state);
  const Mesh& mesh = graph.mesh();
  const int64_t elements = local_shape(graph[slot.bucket].type, mesh).num_elements();
  const bool sharded = graph[state].type.on(Axis::kDp).is(PlacementKind::kSplit);
  const int64_t begin = sharded ? split_begin(elements, mesh.dp, executor.coordinate().dp) : 0;
  const int64_t offset = graph[slot.parameter].offset;  // of the parameter in the bucket
  MasterRange range{std::max<int64_t>(0, begin - offset),
                    std::min(num_elements, begin + masters.num_elements() - offset)};
  range.data = masters.data + (offset + range.first - begin) * 4;
  return range;
}

}  // namespace

void set_parameters(Executor& executor, const ParameterSource& source, int threads) {
  const Graph& graph = executor.stage().graph;
  const Backend& backend = executor.backend();
  std::vector<StateId> all = buckets(graph);
  for (StateId bucket : all) {
    for (StateRole role : {StateRole::kMomentum, StateRole::kVariance}) {
      const TensorView moment = executor.view(graph.companion(bucket, role));
      const std::vector<float> zeros(static_cast<size_t>(moment.num_elements()));
      backend.write(std::as_bytes(std::span(zeros)), moment.data);
    }
  }
  if (const StateId copy = tied_copy(graph); copy.valid()) all.push_back(copy);
  for (const Slot& slot : parameters_of(graph, all)) {
    const State& state = graph[slot.parameter];
    const TensorView weights = executor.view(slot.parameter);
    const MasterRange masters = masters_of(executor, slot, weights.num_elements());
    const ShardBox box = shard_of(graph, weights, state.type, executor.coordinate());
    // A long vector or whole rows are read in pieces of about this many elements.
    constexpr int64_t kPiece = int64_t{1} << 16;
    const int64_t piece = std::min(box.columns, kPiece), pieces = div_up(box.columns, piece);
    parallel_rows(box.rows * pieces, threads, [&](int64_t i) {
      const int64_t row = i / pieces, column = i % pieces * piece, count = std::min(piece, box.columns - column);
      std::vector<float> values(static_cast<size_t>(count));
      source(state.name, (box.first_row + row) * box.logical_columns + box.first_column + column, values);
      const int64_t at = row * box.columns + column;
      masters.overlap(at, count, [&](int64_t from, int64_t to) {
        backend.write(std::as_bytes(std::span(values).subspan(static_cast<size_t>(from - at),
                                                              static_cast<size_t>(to - from))),
                      masters.data + (from - masters.first) * 4);
      });
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

void read_masters(const Executor& executor, const MasterSink& sink) {
  const Graph& graph = executor.stage().graph;
  for (const Slot& slot : owned_parameters(graph)) {
    const State& state = graph[slot.parameter];
    const TensorView weights = executor.view(slot.parameter);
    const MasterRange masters = masters_of(executor, slot, weights.num_elements());
    const ShardBox box = shard_of(graph, weights, state.type, executor.coordinate());
    for (int64_t row = 0; row < box.rows; ++row)
      masters.overlap(row * box.columns, box.columns, [&](int64_t from, int64_t to) {
        std::vector<float> values(static_cast<size_t>(to - from));
        executor.backend().read(masters.data + (from - masters.first) * 4, std::as_writable_bytes(std::span(values)));
        sink(state.name,
             (box.first_row + row) * box.logical_columns + box.first_column + from - row * box.columns, values);
      });
  }
}

std::vector<float> read_master(const Executor& executor, const std::string& name) {
  std::vector<float> all;
  read_masters(executor, [&](const std::string& parameter, int64_t, std::span<const float> values) {
    if (parameter == name) all.insert(all.end(), values.begin(), values.end());
  });
  TRINE_CHECK(!all.empty(), "no parameter {}", name);
  return all;
}

}  // namespace trine
