// The virtual file driver behind H5File. (HDF5's documentation: "HDF5 Virtual File Layer".)
#include <algorithm>
#include <cstring>
#include <iterator>
#include <limits>

#include "checkpoint/hdf5.h"
#if H5_VERSION_GE(1, 13, 0)
#include <H5FDdevelop.h>
#endif

namespace trine {

struct H5Driver {
  using State = H5File::State;

  struct Open {
    H5FD_t base;  // first: HDF5 sees only this
    State* state;
    haddr_t end_of_allocation, end_of_file;
  };
  static Open& self(H5FD_t* file) { return *reinterpret_cast<Open*>(file); }
  static const Open& self(const H5FD_t* file) { return *reinterpret_cast<const Open*>(file); }

  // The state comes as driver information of the access property list.
  static H5FD_t* open(const char*, unsigned, hid_t access, haddr_t) {
    const auto* state = static_cast<State* const*>(H5Pget_driver_info(access));
    if (state == nullptr) return nullptr;
    auto* opened = new Open{};
    opened->state = *state;
    try {
      opened->end_of_file = static_cast<haddr_t>((*state)->file->size());
    } catch (...) {
      delete opened;
      return nullptr;
    }
    return &opened->base;
  }
  static herr_t close(H5FD_t* file) {
    delete &self(file);
    return 0;
  }
  static herr_t query(const H5FD_t*, unsigned long* flags) {
    if (flags != nullptr) {
      *flags = H5FD_FEAT_AGGREGATE_METADATA | H5FD_FEAT_AGGREGATE_SMALLDATA | H5FD_FEAT_DEFAULT_VFD_COMPATIBLE;
    }
    return 0;
  }
  static haddr_t end_of_allocation(const H5FD_t* file, H5FD_mem_t) { return self(file).end_of_allocation; }
  static herr_t set_end_of_allocation(H5FD_t* file, H5FD_mem_t, haddr_t end) {
    self(file).end_of_allocation = end;
    return 0;
  }
  static haddr_t end_of_file(const H5FD_t* file, H5FD_mem_t) { return self(file).end_of_file; }

  // Runs f, unless an error came before; keeps the error.
  template <typename F>
  static void keep_error(State& state, F f) {
    if (state.error) return;
    try {
      f(*state.file);
    } catch (...) {
      state.error = std::current_exception();
    }
  }

  static herr_t read(H5FD_t* file, H5FD_mem_t, hid_t, haddr_t address, size_t size, void* to) {
    const Open& opened = self(file);
    auto* bytes = static_cast<std::byte*>(to);
    // Beyond the end are zeros, as in HDF5's own drivers.
    const size_t there = address >= opened.end_of_file
                             ? 0
                             : static_cast<size_t>(std::min<haddr_t>(size, opened.end_of_file - address));
    std::memset(bytes + there, 0, size - there);
    try {
      opened.state->file->read(static_cast<int64_t>(address), {bytes, there});
    } catch (...) {
      if (!opened.state->error) opened.state->error = std::current_exception();
      return -1;
    }
    return 0;
  }
  static herr_t write(H5FD_t* file, H5FD_mem_t type, hid_t, haddr_t address, size_t size, const void* from) {
    Open& opened = self(file);
    keep_error(*opened.state, [&](File& target) {
      target.write(static_cast<int64_t>(address), {static_cast<const std::byte*>(from), size});
      if (type == H5FD_MEM_DRAW) target.start_writeback(static_cast<int64_t>(address), static_cast<int64_t>(size));
    });
    opened.end_of_file = std::max(opened.end_of_file, address + size);
    return 0;
  }
  static herr_t truncate(H5FD_t* file, hid_t, hbool_t) {
    Open& opened = self(file);
    if (opened.end_of_file == opened.end_of_allocation) return 0;
    keep_error(*opened.state,
               [&](File& target) { target.truncate(static_cast<int64_t>(opened.end_of_allocation)); });
    opened.end_of_file = opened.end_of_allocation;
    return 0;
  }

  // Of the library's lifetime: HDF5 ends it itself.
  static hid_t id() {
    static H5FD_class_t driver = [] {
      H5FD_class_t c = {};
#if H5_VERSION_GE(1, 13, 0)
      c.version = H5FD_CLASS_VERSION;
      c.value = static_cast<H5FD_class_value_t>(600);  // of those that anybody may use
#endif
      c.name = "trine";
      c.maxaddr = static_cast<haddr_t>(std::numeric_limits<int64_t>::max());
      c.fc_degree = H5F_CLOSE_STRONG;
      c.fapl_size = sizeof(State*);
      c.open = open;
      c.close = close;
      c.query = query;
      c.get_eoa = end_of_allocation;
      c.set_eoa = set_end_of_allocation;
      c.get_eof = end_of_file;
      c.read = read;
      c.write = write;
      c.truncate = truncate;
      const H5FD_mem_t map[] = H5FD_FLMAP_SINGLE;
      std::copy(std::begin(map), std::end(map), std::begin(c.fl_map));
      return c;
    }();
    static const hid_t registered = H5FDregister(&driver);
    return registered;
  }

  // For a new file: newest format, and all metadata in memory until the end,
  // because HDF5 reads back what it evicts.
  static H5Id access(State* state, const std::filesystem::path& path, bool write) {
    H5Id list(H5Pcreate(H5P_FILE_ACCESS), path, "creating a property list");
    h5_check(H5Pset_driver(list, id(), &state), path, "choosing the driver");
    h5_check(H5Pset_fclose_degree(list, H5F_CLOSE_STRONG), path, "setting the close degree");
    h5_check(H5Pset_cache(list, 0, 0, 0, 0), path, "setting the chunk cache");
    if (!write) return list;
    h5_check(H5Pset_libver_bounds(list, H5F_LIBVER_LATEST, H5F_LIBVER_LATEST), path, "setting the format");
    h5_check(H5Pset_meta_block_size(list, 64 << 10), path, "setting the block of metadata");
    H5AC_cache_config_t cache = {};
    cache.version = H5AC__CURR_CACHE_CONFIG_VERSION;
    h5_check(H5Pget_mdc_config(list, &cache), path, "reading the cache's configuration");
    cache.evictions_enabled = false;
    cache.incr_mode = H5C_incr__off;
    cache.flash_incr_mode = H5C_flash_incr__off;
    cache.decr_mode = H5C_decr__off;
    h5_check(H5Pset_mdc_config(list, &cache), path, "configuring the cache");
    return list;
  }
};

H5File::H5File(File& file, bool write) : state_(std::make_unique<State>(State{&file, nullptr})) {
  const Hdf5Lock lock;
  const H5Id access = H5Driver::access(state_.get(), file.path(), write);
  const char* name = file.path().c_str();
  const hid_t id = write ? H5Fcreate(name, H5F_ACC_TRUNC, without_times(H5P_FILE_CREATE, file.path()), access)
                         : H5Fopen(name, H5F_ACC_RDONLY, access);
  if (id < 0) throw_if_failed();
  id_ = H5Id(id, file.path(), write ? "creating it as HDF5" : "opening it as HDF5");
}

H5File H5File::create(File& file) { return {file, true}; }
H5File H5File::open(File& file) { return {file, false}; }

void H5File::throw_if_failed() const {
  if (state_->error) std::rethrow_exception(state_->error);
}

void H5File::close() {
  const Hdf5Lock lock;
  const herr_t status = H5Fclose(id_.release());
  throw_if_failed();
  h5_check(status, state_->file->path(), "closing it");
}

}  // namespace trine
