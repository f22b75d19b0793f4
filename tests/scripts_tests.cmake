# The checks of the tree itself, and the tests of the scripts.
find_program(PYTHON python3 REQUIRED)
add_test(NAME layers COMMAND ${PYTHON} ${PROJECT_SOURCE_DIR}/scripts/check_layers.py ${PROJECT_SOURCE_DIR})
add_test(NAME folders_picture COMMAND ${PYTHON} ${PROJECT_SOURCE_DIR}/scripts/folders_picture.py --check)
foreach(script check_layers doc_paths folders_picture install_packages gpu_table cuda_rewrite cudnn_frontend
        update_docs)
  add_test(NAME scripts.${script} COMMAND ${PYTHON} ${PROJECT_SOURCE_DIR}/tests/scripts/${script}_test.py)
endforeach()
# What explains and predicts needs no library of ranks, devices or checkpoints: so it runs on a laptop.
foreach(program test_trace test_cluster test_analysis plan_llama)
  if(NOT TRINE_SANITIZE)
    add_test(NAME links_alone.${program}
             COMMAND sh -c "libraries=$(ldd $<TARGET_FILE:${program}>) && ! echo \"$libraries\" | grep -iE 'mpi|cuda|nccl|dnnl|hdf5'")
  endif()
endforeach()
if(NOT TRINE_SANITIZE)  # with all programs
  add_test(NAME scripts.gpu_check COMMAND ${PYTHON} ${PROJECT_SOURCE_DIR}/tests/scripts/gpu_check_test.py
                                          ${CMAKE_RUNTIME_OUTPUT_DIRECTORY})
  set_tests_properties(scripts.gpu_check PROPERTIES TIMEOUT 300)
  add_test(NAME scripts.kineto COMMAND ${PYTHON} ${PROJECT_SOURCE_DIR}/tests/scripts/kineto_test.py
                                       ${CMAKE_RUNTIME_OUTPUT_DIRECTORY})
  add_test(NAME scripts.report_page COMMAND ${PYTHON} ${PROJECT_SOURCE_DIR}/tests/scripts/report_page_test.py
                                            ${CMAKE_RUNTIME_OUTPUT_DIRECTORY})
  add_test(NAME docs COMMAND ${PYTHON} ${PROJECT_SOURCE_DIR}/scripts/update_docs.py --check
                             --bin ${CMAKE_RUNTIME_OUTPUT_DIRECTORY})
  set_tests_properties(docs PROPERTIES TIMEOUT 600)
  add_test(NAME scripts.readme COMMAND ${PYTHON} ${PROJECT_SOURCE_DIR}/tests/scripts/readme_test.py ${PROJECT_BINARY_DIR})
  set_tests_properties(scripts.readme PROPERTIES TIMEOUT 600)
endif()
