#include "comm/nccl/nccl_library.h"

#include <cstdlib>
#include <dlfcn.h>

#include "base/error.h"

namespace trine {
namespace {

void* open() {
  for (const char* name : {"libnccl.so.2", TRINE_NCCL_LIBRARIES "/libnccl.so.2"})
    if (void* const handle = ::dlopen(name, RTLD_NOW | RTLD_LOCAL)) return handle;
  return nullptr;
}

}  // namespace

void forbid_peer_to_peer() {
  [[maybe_unused]] static const int once = ::setenv("NCCL_P2P_DISABLE", "1", /*replace=*/0);
}

NcclLibrary::NcclLibrary(const std::string& file) : handle_(::dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL)) {
  if (handle_ == nullptr) throw ConfigError(fmt::format("[nccl] {} cannot be opened ({})", file, ::dlerror()));
}

NcclLibrary::NcclLibrary() : handle_(open()) {
  if (handle_ == nullptr)
    throw ConfigError(
        fmt::format("[nccl] libnccl.so.2 cannot be opened ({}). Install it, name its folder in "
                    "LD_LIBRARY_PATH, or take --comm mpi.",
                    ::dlerror()));
}

void* NcclLibrary::find_symbol(const char* name) const {
  if (handle_ == nullptr) return nullptr;  // the constructor is about to throw
  void* const symbol = ::dlsym(handle_, name);
  if (symbol == nullptr)
    throw ConfigError(
        fmt::format("[nccl] libnccl.so.2 has no {}: it is too old. Install NCCL 2.18 or later.", name));
  return symbol;
}

void NcclLibrary::check(ncclResult_t result, const char* call, ncclComm_t comm, std::source_location place) const {
  if (result == ncclSuccess || result == ncclInProgress) return;
  const std::string message = fmt::format("[nccl] {} from {} at {}:{}. {}", GetErrorString(result), call,
                                          place.file_name(), place.line(), GetLastError(comm));
  if (result == ncclRemoteError || result == ncclSystemError) throw PeerLostError(message);
  throw Error(ExitCode::kOther, message);
}

}  // namespace trine
