// What differs between two checkpoints.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "checkpoint/manifest.h"

namespace trine {

struct FieldDifference {
  std::string field;
  nlohmann::json a, b;  // null: absent
};
struct TensorDifference {
  TensorKind kind;
  std::string tensor, what;  // "hash 00.. and ff..", "only in the second"
};
struct Comparison {
  std::vector<TensorDifference> tensors;
  std::vector<FieldDifference> state, layout, config;
  // Training would go on the same from both.
  bool same() const { return tensors.empty() && state.empty(); }
};

// By the manifests alone: tensors by type, shape and hash, whatever layout wrote them.
Comparison compare(const Manifest& a, const Manifest& b);

// "state", "layout" and "config" as the manifest's text has them.
nlohmann::json manifest_fields(Manifest manifest);

}  // namespace trine
