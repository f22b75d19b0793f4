// Inference on a machine, as `plan_llama inference` tells it.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "analysis/inference.h"
#include "analysis/machine.h"

namespace trine {

// The setup of a split on a machine: devices at their data sheet's rates, links as measured. Ranks of a tp group
// are neighbours; stages follow each other over the hosts. `price_hour`: rent of a device;
// none: bought, with power.
InferenceSetup inference_on(const Machine& machine, const LlamaConfig& model, const InferenceSplit& split,
                            int64_t context, std::optional<int64_t> batch, std::optional<double> price_hour = {});
// tp within hosts as wide as the model allows, pp for the rest. REQUIRES: devices >= 1.
InferenceSplit default_split(const Machine& machine, const LlamaConfig& model, int devices);

// {model, cluster, devices, tp, pp, replicas, context, weights_bytes, kv_bytes_per_sequence, batch, sequences,
//  latency_s, tokens_per_s, tokens_per_s_per_user, tokens_per_usd (null: no price), bound, and what they come from;
//  splits: all ways to share the devices; networks: the same over NICs of other rates, where a replica spans hosts;
//  article: what it says of the same, what holds today, and why}
// ConfigError, with what is nearest, where memory is too small.
nlohmann::json inference_json(const std::string& model_name, const Machine& machine, const InferenceSetup& setup);
// For people, of what inference_json() says and nothing else.
std::string inference_text(const nlohmann::json& inference);

}  // namespace trine
