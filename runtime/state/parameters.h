// A model's parameters in an executor's memory: first values, and weights from elsewhere.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "models/llama_config.h"
#include "runtime/step/executor.h"

namespace trine {

// Gives elements [begin, begin + out.size()) of the flattened logical tensor.
using ParameterSource = std::function<void(const std::string& name, int64_t begin, std::span<float> out)>;

// Takes elements [begin, begin + values.size()) of the flattened logical tensor.
using MasterSink = std::function<void(const std::string& name, int64_t begin, std::span<const float> values)>;

// Fills this rank's shard of every parameter from `source`: f32 masters and compute copies; moments are zeroed.
// Each element is asked for once, in rows, from several threads where `threads` > 1.
void set_parameters(Executor& executor, const ParameterSource& source, int threads);

// As before the first step.
void zero_moments(Executor& executor);

// Initial values by (seed, name, element index): the same model on any layout.
ParameterSource initial_values(const Graph& graph, uint64_t seed);

// DataError unless the weights of a folder are those of the model (misfit() of checkpoint/weight_names.h).
void check_fits(const std::string& folder, const std::map<std::string, Shape>& weights, const Plan& plan);

// Weights of a Hugging Face folder. DataError unless they fit the model.
ParameterSource hugging_face_values(const std::string& folder, const Plan& plan);

// The f32 masters that this rank owns, a row of a shard (or part of one) at a time. Over all ranks every element
// comes once for each replica: once with ZeRO-1, else once for each dp rank; what tp ranks all hold, from each.
void read_masters(const Executor& executor, const MasterSink& sink);
// Those of one parameter.
std::vector<float> read_master(const Executor& executor, const std::string& name);

}  // namespace trine
