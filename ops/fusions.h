// The pairs of ops that one fused op computes, for the fuse pass.
#pragma once

#include <vector>

#include "graph/passes/fuse.h"

namespace trine {

std::vector<Fusion> fusions();

}  // namespace trine
