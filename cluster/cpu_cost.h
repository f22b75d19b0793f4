// How long ops and transfers take on the cores of a profile (cluster/cpu_profile.h): pure functions.
//
// An op takes constant + work / rate; where measured shapes are near, they correct that. What it streams gets
// slower when others stream too: of the memory's rate each of n busy cores has min(B_1, B_all / n). All else gets
// slower by what a core loses when its neighbours are busy (clock, hyper-threads).
#pragma once

#include <string_view>

#include "cluster/cpu_profile.h"
#include "graph/op.h"

namespace trine {

// How many times longer an op takes while `busy` cores of its host compute, this one's among them.
double busy_factor(const CpuProfile& cpu, double streams, double busy);

struct CpuSeconds {
  double seconds = 0;
  bool measured = false;  // its family is in the table for this dtype and number of threads
};
// Of an op with this cost, while `busy` cores compute. One that was not measured: as the others of its dtype that
// do its kind of work, at their mean rate.
CpuSeconds cpu_op_s(const CpuProfile& cpu, std::string_view op, const Cost& cost, DType dtype, int threads,
                    double busy);

// Of a collective or message (`kind`: CpuTransferCost's), once all `ranks` of its group are there; `bytes` of the
// whole buffer. Another number of ranks than was measured: all exchange with all (base/collective_pattern.h), so
// the messages of a rank grow with ranks - 1, and its bytes with (ranks - 1) / ranks. Where nothing of the kind
// was measured: as a copy at the memory's rate.
double cpu_transfer_s(const CpuProfile& cpu, std::string_view kind, double bytes, int ranks, int hosts);

}  // namespace trine
