// A state that one layout saved, loaded by every other: bit for bit the same, and in the files that checkpoint_tool
// reshard writes without ranks.
#include "checkpoint/reshard.h"

#include <gtest/gtest.h>
#include <map>
#include <mutex>
#include <unistd.h>

#include "checkpoint/hash.h"
#include "checkpoint/save.h"
#include "comm/local/local_ranks.h"
#include "plan/config/flags.h"
#include "plan/plan.h"
#include "runtime/state/checkpointing.h"
#include "runtime/step/comm_lanes.h"
#include "tests/runtime/local_training.h"

namespace trine {
namespace {

namespace fs = std::filesystem;

struct Layout {
  SavedLayout saved;
  std::string flags;
  int num_ranks() const { return static_cast<int>(saved.tp * saved.pp * saved.dp); }
};

// tp{1,2,4} x pp{1,2,4} x dp{1,2} of at most 8 ranks, with dp both without and with ZeRO;
// an uneven pipeline, two interleaved ones.
std::vector<Layout> all_layouts() {
  std::vector<Layout> layouts;
  const auto add = [&](int64_t tp, int64_t pp, int64_t dp, int64_t vpp, int64_t zero) {
    layouts.push_back({{tp, pp, dp, vpp, zero},
                       fmt::format("--tp {} --pp {} --zero {} --vpp {} --schedule {}", tp, pp, zero, vpp,
                                   vpp > 1 ? "interleaved" : "1f1b")});
  };
  for (const int64_t tp : {1, 2, 4})
    for (const int64_t pp : {1, 2, 4})
      for (const int64_t dp : {1, 2})
        for (int64_t zero = 0; zero < dp; ++zero)
          if (tp * pp * dp <= 8) add(tp, pp, dp, 1, zero);
  add(1, 3, 1, 1, 0);
  add(1, 2, 2, 2, 1);
  add(2, 2, 1, 2, 0);
  return layouts;
}

// The state of all ranks, as hashes that no layout changes.
using Hashes = std::map<std::pair<TensorKind, std::string>, uint64_t>;

Hashes hashes_of(const Manifest& manifest) {
  Hashes hashes;
  for (const TensorEntry& tensor : manifest.tensors) hashes[{tensor.kind, tensor.name}] = tensor.hash;
  return hashes;
}

std::vector<std::string> pieces_of(const TensorEntry& tensor) {
  std::vector<std::string> pieces;
  for (const Piece& piece : tensor.pieces)
    pieces.push_back(fmt::format("{} {} {}", piece.file, piece.dataset, to_string(piece.box)));
  return pieces;
}

void add_hashes(const std::vector<Slice>& slices, Hashes& hashes) {
  for (const Slice& slice : slices) {
    const auto* data = static_cast<const std::byte*>(slice.data);
    for (const Box& box : slice.boxes) {
      hashes[{slice.kind, slice.name}] += box_hash(data, box, slice.shape, sizeof(float));
      data += static_cast<size_t>(box.num_elements()) * sizeof(float);
    }
  }
}

// The untied model goes from everywhere to everywhere; of the tied one (whose embedding two stages use) some do.
size_t stride(const char* model) { return std::string_view(model).ends_with("on") ? 5 : 1; }

class Reshard : public testing::TestWithParam<const char*> {
 protected:
  Reshard() { fs::remove_all(folder_); }
  ~Reshard() override { fs::remove_all(folder_); }

  static Config config(const Layout& layout) {
    return config_of(layout.num_ranks(),
                     "--layers 4 --hidden 16 --heads 4 --kv-heads 2 --head-dim 4 --ffn 22 "
                     "--vocab 67 --seq 4 --global-batch 8 --micro-batch 1 --steps 4 --threads 1 " +
                         layout.flags + GetParam());
  }
  static SaveJob job(const Config& config, const Layout& layout, const fs::path& folder, int rank) {
    SaveJob job;
    job.folder = folder;
    job.token = "test";
    job.rank = rank;
    job.num_ranks = layout.num_ranks();
    job.timeout = std::chrono::seconds(60);
    job.state = {.step = 1, .best_valid_loss = {}, .tokenizer_hash = "00"};
    job.layout = layout.saved;
    job.config = to_json(config);
    return job;
  }

  // Calls f(executor, world) on each rank.
  template <typename F>
  static void on_ranks(const Config& config, F&& f) {
    const Plan plan = build_plan(config);
    run_local_ranks(config.mesh.num_ranks(), [&](Fabric& fabric) {
      CommWorld world(fabric, config.mesh, std::chrono::seconds(60));
      CommLanes lanes(world);
      const StagePlan& stage = plan.stages[static_cast<size_t>(world.coordinate().pp)];
      const auto backend = make_cpu_backend(1);
      TraceRecorder trace(1 << 12);
      Executor executor(stage, config, world.coordinate(), *backend, trace, &lanes, std::byte{0xFF});
      f(executor, fabric.rank());
    });
  }

  // One step of training, so that moments are not zero; then a checkpoint.
  fs::path train_and_save(const Layout& layout, size_t index) const {
    const Config c = config(layout);
    const fs::path folder = folder_ / std::to_string(index);
    const Batch batch = random_batches(c)(0);
    on_ranks(c, [&](Executor& executor, int rank) {
      set_parameters(executor, initial_values(executor.stage().graph, 7 + index), 1);
      const size_t count = batch.ids.size() / static_cast<size_t>(c.mesh.dp);
      const size_t begin = count * static_cast<size_t>(executor.coordinate().dp);
      executor.train_step({.ids = std::span(batch.ids).subspan(begin, count),
                           .labels = std::span(batch.labels).subspan(begin, count),
                           .lr = 1e-2f,
                           .loss_scale = 1},
                          1);
      const SaveOutcome outcome = save_checkpoint(job(c, layout, folder, rank), owned_slices(executor));
      EXPECT_TRUE(outcome.ok) << outcome.problem;
    });
    return folder / "step-000001";
  }

  const fs::path folder_ = fs::temp_directory_path() / fmt::format("trine-reshard-{}", ::getpid());
};

TEST_P(Reshard, EveryLayoutLoadsEveryOther) {
  const std::vector<Layout> layouts = all_layouts();
  std::vector<fs::path> sources;
  std::vector<Hashes> saved;
  for (size_t i = 0; i < layouts.size(); i += stride(GetParam())) {
    sources.push_back(train_and_save(layouts[i], i));
    saved.push_back(hashes_of(load_manifest(sources.back())));
    if (i > 0) {
      ASSERT_NE(saved.back(), saved[0]) << "states that do not differ prove nothing";
    }
  }
  for (const Layout& layout : layouts) {
    std::vector<Hashes> loaded(sources.size());
    std::mutex mutex;
    on_ranks(config(layout), [&](Executor& executor, int) {
      for (size_t i = 0; i < sources.size(); ++i) {
        Checkpoint checkpoint(sources[i]);
        checkpoint.trust_files();
        load_state(executor, checkpoint);
        const std::lock_guard lock(mutex);
        add_hashes(owned_slices(executor), loaded[i]);
      }
    });
    for (size_t i = 0; i < sources.size(); ++i)
      EXPECT_EQ(loaded[i], saved[i]) << sources[i] << " -> " << layout.flags;
  }
}

TEST_P(Reshard, ToolWritesWhatTheRanksWould) {
  const std::vector<Layout> layouts = all_layouts();
  const size_t source_index = 9;  // any that is cut on all axes
  const fs::path source = train_and_save(layouts[source_index], source_index);
  // A quarter of the plain layouts, and all others.
  for (size_t i = stride(GetParam()) - 1; i < layouts.size(); ++i) {
    const Layout& layout = layouts[i];
    if (i % 4 != 0 && i + 3 < layouts.size()) continue;
    const fs::path by_ranks = folder_ / fmt::format("ranks-{}", i), by_tool = folder_ / fmt::format("tool-{}", i);
    const Config c = config(layout);
    on_ranks(c, [&](Executor& executor, int rank) {
      Checkpoint checkpoint(source);
      load_state(executor, checkpoint);
      EXPECT_TRUE(save_checkpoint(job(c, layout, by_ranks, rank), owned_slices(executor)).ok);
    });
    Checkpoint checkpoint(source);
    const Manifest tool = load_manifest(reshard(checkpoint, by_tool, layout.saved));
    const Manifest ranks = load_manifest(by_ranks / "step-000001");
    EXPECT_EQ(tool.layout, layout.saved);
    EXPECT_EQ(tool.state, ranks.state);
    ASSERT_EQ(tool.files.size(), ranks.files.size()) << layout.flags;
    for (size_t file = 0; file < tool.files.size(); ++file) {
      EXPECT_EQ(tool.files[file].name, ranks.files[file].name);
      EXPECT_EQ(tool.files[file].bytes, ranks.files[file].bytes) << layout.flags << ", " << tool.files[file].name;
    }
    ASSERT_EQ(tool.tensors.size(), ranks.tensors.size());
    for (size_t t = 0; t < tool.tensors.size(); ++t)
      EXPECT_EQ(pieces_of(tool.tensors[t]), pieces_of(ranks.tensors[t]))
          << layout.flags << ", " << tool.tensors[t].name;
    EXPECT_EQ(hashes_of(tool), hashes_of(checkpoint.manifest())) << layout.flags;
  }
}

INSTANTIATE_TEST_SUITE_P(Models, Reshard, testing::Values(" --tie-embeddings off", " --tie-embeddings on"),
                         [](const auto& model) { return model.index == 0 ? "Untied" : "Tied"; });

}  // namespace
}  // namespace trine
