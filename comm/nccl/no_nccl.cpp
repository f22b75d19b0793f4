// Stands for this folder where CUDA was not found.
#include "base/error.h"
#include "comm/device_group.h"

namespace trine {

std::unique_ptr<DeviceWorld> make_nccl_world(CommWorld&, bool, bool, std::chrono::milliseconds) {
  throw ConfigError("[comm] this program was built without NCCL. Leave --comm out, or take --comm mpi.");
}

std::string nccl_version() { return {}; }

}  // namespace trine
