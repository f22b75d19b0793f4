// The checks that every backend's kernels of collectives go through, on ranks that are threads, against serial
// arithmetic. Values are small whole numbers, so that every sum is exact.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "graph/placement.h"
#include "kernels/kernel.h"

namespace trine {

struct CollectiveCase {
  std::string name;
  Placement from, to;
  std::vector<int64_t> extents;  // 0: as many as ranks
  int64_t gap = 0;               // of rows, where a kernel takes strided operands
  bool in_place = false;
};
std::vector<CollectiveCase> collective_cases();

// Called by each rank for its own. The kernels take operands in the host's memory.
using MakeKernels = std::function<KernelTable()>;

void expect_collective(const CollectiveCase& c, int ranks, const MakeKernels& make_kernels);
// A state goes to the same coordinate of another stage, and stays where it was.
void expect_states_sent(const MakeKernels& make_kernels);
// Into another state it is a copy; over its own, nothing.
void expect_enter_copies(const MakeKernels& make_kernels);

}  // namespace trine
