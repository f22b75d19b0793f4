#include "runtime/state/parameters.h"

#include <algorithm>
#include <exception>
#include <map>
#include <memory>

#include "base/error.h"
#include "base/rng.h"
#include "checkpoint/hugging_face.h"
#include "checkpoint/weight_names.h"
#include "parallel/buckets.h"
#include "runtime/state/parameter_slots.h"

namespace trine {
namespace {

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

}  // namespace

void zero_moments(Executor& executor) {
  const Graph& graph = executor.stage().graph;
  for (StateId bucket : buckets(graph)) {
    for (StateRole role : {StateRole::kMomentum, StateRole::kVariance}) {
      const TensorView moment = executor.view(graph.companion(bucket, role));
      const std::vector<float> zeros(static_cast<size_t>(moment.num_elements()));
      executor.backend().write(std::as_bytes(std::span(zeros)), moment.data);
    }
  }
}

void set_parameters(Executor& executor, const ParameterSource& source, int threads) {
  const Graph& graph = executor.stage().graph;
  const Backend& backend = executor.backend();
  zero_moments(executor);
  for (const Slot& slot : used_parameters(graph)) {
    const std::string& name = graph[slot.parameter].name;
    const TensorView weights = executor.view(slot.parameter);
    const StateRange masters = range_of(executor, slot, StateRole::kMaster);
    const ShardBox box = shard_of(executor, slot.parameter);
    // A long vector or whole rows are read in pieces of about this many elements.
    constexpr int64_t kPiece = int64_t{1} << 16;
    const int64_t piece = std::min(box.columns, kPiece), pieces = div_up(box.columns, piece);
    parallel_rows(box.rows * pieces, threads, [&](int64_t i) {
      const int64_t row = i / pieces, column = i % pieces * piece, count = std::min(piece, box.columns - column);
      std::vector<float> values(static_cast<size_t>(count));
      source(name, (box.first_row + row) * box.logical_columns + box.first_column + column, values);
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

namespace {

std::string complaint(const std::string& folder) {
  return fmt::format("[--load-weights] {}: the weights do not fit the model", folder);
}
constexpr const char* kCheckModel = "Check --model, or leave it out to take the model from that folder.";

}  // namespace

void check_fits(const std::string& folder, const std::map<std::string, Shape>& weights, const Plan& plan) {
  if (const std::string problem = misfit(weights, model_parameters(plan.config.model)); !problem.empty())
    throw DataError(fmt::format("{}:{}\n{}", complaint(folder), problem, kCheckModel));
}

ParameterSource hugging_face_values(const std::string& folder, const Plan& plan) {
  const auto weights = std::make_shared<const HuggingFaceWeights>(folder);
  try {
    weights->check_fit(model_parameters(plan.config.model), complaint(folder));
  } catch (const DataError& error) {
    throw DataError(fmt::format("{}\n{}", error.what(), kCheckModel));
  }
  return
      [weights](const std::string& name, int64_t begin, std::span<float> out) { weights->read(name, begin, out); };
}

void read_masters(const Executor& executor, const MasterSink& sink) {
  const Graph& graph = executor.stage().graph;
  for (const Slot& slot : owned_parameters(graph)) {
    const StateRange masters = range_of(executor, slot, StateRole::kMaster);
    const ShardBox box = shard_of(executor, slot.parameter);
    for (int64_t row = 0; row < box.rows; ++row)
      masters.overlap(row * box.columns, box.columns, [&](int64_t from, int64_t to) {
        std::vector<float> values(static_cast<size_t>(to - from));
        executor.backend().read(masters.data + (from - masters.first) * 4,
                                std::as_writable_bytes(std::span(values)));
        sink(graph[slot.parameter].name,
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
