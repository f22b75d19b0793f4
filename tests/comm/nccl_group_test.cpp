// Who calls NCCL when: the thread that enqueues and the device's watch,
// over a library that counts what NCCL forbids.
#include "comm/nccl/nccl_group.h"

#include <dlfcn.h>
#include <gtest/gtest.h>
#include <thread>

#include "base/error.h"
#include "tests/comm/fake_nccl.h"

namespace trine {
namespace {

using std::chrono::milliseconds;

class NcclGroupTest : public testing::Test {
 protected:
  NcclGroupTest() : own_(::dlopen(TRINE_FAKE_NCCL, RTLD_NOW)) {}
  ~NcclGroupTest() override { hold(false, false); }

  NcclGroup::Options options(milliseconds timeout = milliseconds(20'000)) {
    return {.name = "tp", .max_ctas = 2, .timeout = timeout, .activate_device = [this] { ++activated_; }};
  }
  FakeNccl state() const { return reinterpret_cast<FakeNccl (*)()>(::dlsym(own_, "fake_nccl_state"))(); }
  void hold(bool operations, bool connections) const {
    reinterpret_cast<void (*)(bool, bool)>(::dlsym(own_, "fake_nccl_hold"))(operations, connections);
  }
  void wait_until_inside() const {
    while (state().inside == 0) std::this_thread::yield();
  }
  void all_reduce(NcclGroup& group) const { group.all_reduce(nullptr, 8, DType::kF32, ReduceOp::kSum, nullptr); }

  void* const own_;
  std::atomic<int> activated_ = 0;
  const NcclLibrary nccl_{TRINE_FAKE_NCCL};
  NcclTurn turn_;
};

TEST_F(NcclGroupTest, OneThreadAtATimeIsInsideTheLibrary) {
  NcclGroup first(nccl_, turn_, options(), {}, 0, 2), second(nccl_, turn_, options(), {}, 0, 2);
  EXPECT_EQ(activated_, 2);
  EXPECT_EQ(state().blocking, 1);
  EXPECT_EQ(state().max_ctas, 2);
  const long violations = state().violations;
  std::atomic<bool> stop = false;
  std::thread watch([&] {
    while (!stop) first.check(), second.check();
  });
  for (int i = 0; i < 2'000; ++i) {
    all_reduce(first);
    second.all_gather(nullptr, nullptr, 7, DType::kF32, 1, nullptr);  // uneven: several calls in a group
  }
  stop = true;
  watch.join();
  EXPECT_EQ(state().violations, violations);
}

TEST_F(NcclGroupTest, WhileACallIsStuckNothingElseEntersUntilTheAbort) {
  NcclGroup group(nccl_, turn_, options(), {}, 0, 2), other(nccl_, turn_, options(), {}, 0, 2);
  const FakeNccl before = state();
  hold(true, false);
  std::exception_ptr thrown;
  std::thread owner([&] {
    try {
      all_reduce(group);
    } catch (...) {
      thrown = std::current_exception();
    }
  });
  wait_until_inside();
  group.check();  // its turn would not come: returns at once
  EXPECT_EQ(state().calls, before.calls + 1);
  NcclGroup* const groups[] = {&group, &other};
  abort_groups(nccl_, turn_, groups, std::make_exception_ptr(HangError("[comm] no answer")));
  owner.join();
  ASSERT_TRUE(thrown);
  EXPECT_THROW(std::rethrow_exception(thrown), HangError);
  EXPECT_THROW(all_reduce(other), HangError);  // without a call
  abort_groups(nccl_, turn_, groups, std::make_exception_ptr(PeerLostError("[comm] later")));
  const FakeNccl after = state();
  EXPECT_EQ(after.aborts, before.aborts + 2);
  EXPECT_EQ(after.violations, before.violations);
  EXPECT_EQ(after.calls, before.calls + 1);
}

TEST_F(NcclGroupTest, OthersThatDoNotComeAreAHang) {
  hold(false, true);
  try {
    NcclGroup group(nccl_, turn_, options(milliseconds(30)), {}, 1, 2);
    FAIL() << "connected";
  } catch (const HangError& error) {
    EXPECT_NE(std::string(error.what()).find("rank 1 of group tp"), std::string::npos) << error.what();
  }
  hold(false, false);
  while (state().inside > 0) std::this_thread::yield();  // the thread that was left behind
}

TEST_F(NcclGroupTest, ADestroyedGroupIsAbortedOnce) {
  const FakeNccl before = state();
  { NcclGroup group(nccl_, turn_, options(), {}, 0, 2); }
  EXPECT_EQ(state().aborts, before.aborts + 1);
  EXPECT_EQ(state().violations, before.violations);
}

TEST_F(NcclGroupTest, PeerToPeerIsForbiddenBeforeAGroupIsMade) {
  ::unsetenv("NCCL_P2P_DISABLE");
  { NcclGroup group(nccl_, turn_, options(), {}, 0, 2); }
  EXPECT_TRUE(state().peer_to_peer);
  forbid_peer_to_peer();
  { NcclGroup group(nccl_, turn_, options(), {}, 0, 2); }
  EXPECT_FALSE(state().peer_to_peer);
  ::unsetenv("NCCL_P2P_DISABLE");
}

}  // namespace
}  // namespace trine
