// What a profile says of hosts whose cores compute, as measure_cluster measures it: costs of ops by shape, costs of
// transfers by size, and what cores share.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "base/dtype.h"
#include "base/error.h"

namespace trine {

// An op of one family takes constant_us + work / rate, on an otherwise idle host.
struct CpuOpCost {
  std::string op;  // Op::name()
  DType dtype = DType::kBF16;
  int threads = 1;
  bool by_bytes = false;  // its work is bytes read and written, not FLOPs
  double constant_us = 0;
  double giga_per_s = 0;  // 1e9 FLOPs or bytes
  double streams = 0;     // 0 to 1: what part of its time goes at the memory's pace
  // Measured shapes.
  struct Shape {
    double flops = 0, bytes = 0, us = 0;
    bool operator==(const Shape&) const = default;
  };
  std::vector<Shape> shapes;
  bool operator==(const CpuOpCost&) const = default;
};

// What a group of ranks, or two of them, take to exchange so many bytes, once all are there.
struct CpuTransferCost {
  std::string kind;  // "all_reduce", "all_gather", "reduce_scatter" of f32, "reduce_scatter_bf16"; "message"
  int ranks = 2;
  int hosts = 1;  // that they are on
  struct Point {
    double bytes = 0, us = 0;
    bool operator==(const Point&) const = default;
  };
  std::vector<Point> points;  // by rising bytes
  bool operator==(const CpuTransferCost&) const = default;
};

// Without cores, the profile is one of GPUs.
struct CpuProfile {
  double cores = 0;  // of a host, that ranks may keep busy
  double hosts = 1;
  double stream_gb_per_s = 0;      // of one core alone, read and written
  double stream_all_gb_per_s = 0;  // of all cores of a host at once
  double busy_slowdown = 1;        // of work that streams nothing, when all cores are busy
  double wake_us = 0;              // to hand work to a lane's thread, that it runs, and its rank goes on
  double post_us = 0;              // of the rank, to post a message or to hand work to a lane
  double step_us = 0;              // of a step, beside its ops and transfers
  std::vector<CpuOpCost> ops;
  std::vector<CpuTransferCost> transfers;
  bool operator==(const CpuProfile&) const = default;
};

// The tables `ops` and `transfers` of a profile's "cpu"; other keys are not looked at.
// What is wrong goes to `problems`.
void read_cpu_tables(const nlohmann::json& object, CpuProfile& cpu, const std::string& where, Problems& problems);
void write_cpu_tables(const CpuProfile& cpu, nlohmann::ordered_json& object);

}  // namespace trine
