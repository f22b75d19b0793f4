// Whether the tensors of a folder are the weights of a model, and why not.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/shape.h"
#include "checkpoint/saved_model.h"

namespace trine {

inline constexpr const char* kEmbedding = "model.embed_tokens.weight";
inline constexpr const char* kHead = "lm_head.weight";

// Empty if they are: every parameter in its shape, and no others. Of a tied model (`parameters` has no head) the
// head may repeat the embedding or stand in its place; rotary buffers of old files are passed over. Else lines,
// each with "\n  " in front: one that explains all (a prefix, another program's names),
// or the first few that differ.
std::string misfit(const std::map<std::string, Shape>& weights, const std::vector<Parameter>& parameters);

}  // namespace trine
