// The whole of measure_cluster: what a profile of this machine, or of all hosts of a job, needs, and what is wrong.
#pragma once

#include <string>
#include <vector>

#include "cluster/profile.h"
#include "comm/communicator.h"
#include "comm/launch.h"
#include "runtime/measure/doctor.h"

namespace trine {

struct MeasureOptions {
  std::vector<std::string> models = {"tiny", "bench-s"};
  int tp = 0, pp = 1;  // of the layout that will run; 0: none is meant, and tp 2 is measured where there are ranks
  bool quick = false;
  std::string folder = ".";  // whose disk is tried
};

struct RanksHere {
  Launch launch;
  std::vector<std::string> hosts;  // by rank
  int ranks_on_host = 1, cores = 1;
};

struct Measurement {
  Profile profile;
  Findings findings;
};

// Of one rank; collective over `world` (nullptr: it is alone). The first rank's result counts, and it is the only
// one with a profile. Under a minute, or half of one if `quick`. ConfigError.
Measurement measure_machine(const MeasureOptions& options, const RanksHere& here, Communicator* world);

// What a person reads.
std::string measurement_text(const Measurement& measurement);

}  // namespace trine
