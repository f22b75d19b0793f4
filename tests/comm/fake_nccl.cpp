#include "tests/comm/fake_nccl.h"

#include <condition_variable>
#include <cstdlib>
#include <mutex>
#include <nccl.h>
#include <set>
#include <string_view>
#include <thread>

struct ncclComm {};

namespace {

std::mutex mutex;
std::condition_variable changed;
FakeNccl state;
bool hold_operations = false, hold_connections = false;
std::set<ncclComm_t> communicators;

class Call {
 public:
  explicit Call(ncclComm_t comm = nullptr) : lock_(mutex) {
    ++state.calls;
    if (state.inside++ > 0 || (comm != nullptr && !communicators.contains(comm))) ++state.violations;
  }
  ~Call() { --state.inside; }
  // Others may come in meanwhile, and are violations.
  ncclResult_t wait_while(const bool& hold, ncclComm_t comm) {
    changed.notify_all();
    lock_.unlock();
    std::this_thread::yield();
    lock_.lock();
    changed.wait(lock_, [&] { return !hold || (comm != nullptr && !communicators.contains(comm)); });
    return comm == nullptr || communicators.contains(comm) ? ncclSuccess : ncclInternalError;
  }

 private:
  std::unique_lock<std::mutex> lock_;
};

ncclResult_t operate(ncclComm_t comm) {
  Call call(comm);
  return call.wait_while(hold_operations, comm);
}

}  // namespace

extern "C" {

FakeNccl fake_nccl_state() {
  const std::lock_guard lock(mutex);
  return state;
}
void fake_nccl_hold(bool operations, bool connections) {
  const std::lock_guard lock(mutex);
  hold_operations = operations, hold_connections = connections;
  changed.notify_all();
}

ncclResult_t ncclGetVersion(int* version) {
  *version = NCCL_VERSION_CODE;
  return ncclSuccess;
}
const char* ncclGetErrorString(ncclResult_t) { return "fake error"; }
const char* ncclGetLastError(ncclComm_t) { return ""; }
ncclResult_t ncclGetUniqueId(ncclUniqueId* id) {
  *id = {};
  return ncclSuccess;
}
ncclResult_t ncclCommInitRankConfig(ncclComm_t* comm, int, ncclUniqueId, int, ncclConfig_t* config) {
  Call call;
  call.wait_while(hold_connections, nullptr);
  state.max_ctas = config->maxCTAs, state.blocking = config->blocking;
  const char* const disable = std::getenv("NCCL_P2P_DISABLE");  // as NCCL: when a communicator is made
  state.peer_to_peer = disable == nullptr || std::string_view(disable) != "1";
  *comm = *communicators.insert(new ncclComm).first;
  return ncclSuccess;
}
ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t* error) {
  Call call(comm);
  *error = ncclSuccess;
  return ncclSuccess;
}
// The one call that may come from another thread at any time. What it frees stays allocated:
// its address is not used again.
ncclResult_t ncclCommAbort(ncclComm_t comm) {
  const std::lock_guard lock(mutex);
  ++state.aborts;
  if (communicators.erase(comm) == 0) ++state.violations;
  changed.notify_all();
  return ncclSuccess;
}
ncclResult_t ncclGroupStart() { return ncclSuccess; }
ncclResult_t ncclGroupEnd() { return ncclSuccess; }
ncclResult_t ncclAllReduce(const void*, void*, size_t, ncclDataType_t, ncclRedOp_t, ncclComm_t comm, cudaStream_t) {
  return operate(comm);
}
ncclResult_t ncclReduceScatter(const void*, void*, size_t, ncclDataType_t, ncclRedOp_t, ncclComm_t comm,
                               cudaStream_t) {
  return operate(comm);
}
ncclResult_t ncclAllGather(const void*, void*, size_t, ncclDataType_t, ncclComm_t comm, cudaStream_t) {
  return operate(comm);
}
ncclResult_t ncclReduce(const void*, void*, size_t, ncclDataType_t, ncclRedOp_t, int, ncclComm_t comm,
                        cudaStream_t) {
  return operate(comm);
}
ncclResult_t ncclSend(const void*, size_t, ncclDataType_t, int, ncclComm_t comm, cudaStream_t) {
  return operate(comm);
}
ncclResult_t ncclRecv(void*, size_t, ncclDataType_t, int, ncclComm_t comm, cudaStream_t) { return operate(comm); }

}  // extern "C"
