// NCCL, opened when devices are to talk by it: programs start without it, and on machines that do not have it.
#pragma once

#include <nccl.h>
#include <source_location>
#include <string>

namespace trine {

// Tells NCCL, which reads it at the first communicator of the process, that GPUs must not reach into each other's
// memory. A setting of the user's stays.
void forbid_peer_to_peer();

// ConfigError if it cannot be opened.
class NcclLibrary {
  void* handle_;

  template <typename Function>
  Function find(const char* name) const {
    return reinterpret_cast<Function>(find_symbol(name));
  }
  void* find_symbol(const char* name) const;

 public:
  NcclLibrary();                                  // libnccl.so.2
  explicit NcclLibrary(const std::string& file);  // of its interface

#define TRINE_NCCL(name) const decltype(&nccl##name) name = find<decltype(&nccl##name)>("nccl" #name)
  TRINE_NCCL(GetVersion);
  TRINE_NCCL(GetErrorString);
  TRINE_NCCL(GetLastError);
  TRINE_NCCL(GetUniqueId);
  TRINE_NCCL(CommInitRankConfig);
  TRINE_NCCL(CommGetAsyncError);
  TRINE_NCCL(CommAbort);
  TRINE_NCCL(GroupStart);
  TRINE_NCCL(GroupEnd);
  TRINE_NCCL(AllReduce);
  TRINE_NCCL(ReduceScatter);
  TRINE_NCCL(AllGather);
  TRINE_NCCL(Reduce);
  TRINE_NCCL(Send);
  TRINE_NCCL(Recv);
#undef TRINE_NCCL

  // Throws what a call returned: PeerLostError if another rank or the network is to blame, else an Error. Success,
  // or a call that is still in progress, is no failure. `comm`: whose last error is told; may be null.
  void check(ncclResult_t result, const char* call, ncclComm_t comm = nullptr,
             std::source_location place = std::source_location::current()) const;
};

}  // namespace trine
