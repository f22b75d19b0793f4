// A profile of a machine whose cores compute, with round numbers.
#pragma once

#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include "cluster/profile.h"

namespace trine::testing {

// Four cores: an op takes 10 us and 1 us for each MFLOP (linear) or 10 kB (rms_norm), a collective of two ranks 100
// us and 1 us for each kB, a message 50 us and 1 us for each 10 kB.
inline nlohmann::json four_cores() {
  auto json = nlohmann::json::parse(to_json(load_profile("rtx4090")).dump());
  json["name"] = "four cores", json["device"]["name"] = "a core";
  json["device"]["memory_gib"] = 16;
  nlohmann::json cpu = {{"cores", 4},         {"hosts", 1},   {"stream_gb_per_s", 10}, {"stream_all_gb_per_s", 20},
                        {"busy_slowdown", 1}, {"wake_us", 0}, {"post_us", 0},          {"step_us", 0}};
  for (const char* dtype : {"bf16", "f32"})
    for (const char* op : {"linear", "rms_norm"}) {
      const bool product = std::string(op) == "linear";
      const auto shapes = product ? nlohmann::json{{1e6, 1e3, 11}, {1e8, 1e5, 110}}
                                  : nlohmann::json{{1e3, 1e4, 11}, {1e5, 1e6, 110}};
      cpu["ops"].push_back({{"op", op},
                            {"dtype", dtype},
                            {"threads", 1},
                            {"work", product ? "flops" : "bytes"},
                            {"constant_us", 10},
                            {"giga_per_s", product ? 1000 : 10},
                            {"streams", product ? 0 : 1},
                            {"shapes", shapes}});
    }
  for (const char* kind : {"all_reduce", "all_gather", "reduce_scatter", "reduce_scatter_bf16"})
    cpu["transfers"].push_back({{"kind", kind}, {"ranks", 2}, {"hosts", 1}, {"points", {{1e3, 101}, {1e6, 1100}}}});
  cpu["transfers"].push_back(
      {{"kind", "message"}, {"ranks", 2}, {"hosts", 1}, {"points", {{1e4, 51}, {1e6, 150}}}});
  json["cpu"] = cpu;
  return json;
}

inline Profile four_core_profile() { return parse_profile(four_cores().dump(), "four cores"); }

}  // namespace trine::testing
