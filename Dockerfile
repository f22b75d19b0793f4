# Debian 12 with what Trine needs, and its programs installed. Both commands of the README run in it:
#   docker build -t trine .
#   docker run --rm -it trine                        # scripts/quickstart.sh
#   docker run --rm -it trine scripts/test.sh
FROM debian:12

# mpirun as root; shared memory in /tmp, since containers have little in /dev/shm; no copies from process to process,
# which older container engines forbid.
ENV OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
ENV OMPI_MCA_btl_vader_backing_directory=/tmp OMPI_MCA_btl_vader_single_copy_mechanism=none

WORKDIR /trine
COPY scripts/install_packages.sh scripts/
RUN scripts/install_packages.sh && rm -rf /var/lib/apt/lists/*
COPY . .
RUN scripts/build.sh --programs && cmake --install build

CMD ["scripts/quickstart.sh"]
