# DNNL::dnnl from the library and its header alone. The package's own CMake file asks for the OpenCL development files,
# which a program that uses the CPU only has no need of.
find_path(ONEDNN_INCLUDE_DIR oneapi/dnnl/dnnl.hpp REQUIRED)
find_library(ONEDNN_LIBRARY dnnl REQUIRED)
add_library(DNNL::dnnl UNKNOWN IMPORTED)
set_target_properties(DNNL::dnnl PROPERTIES IMPORTED_LOCATION ${ONEDNN_LIBRARY} INTERFACE_INCLUDE_DIRECTORIES
                                                                               ${ONEDNN_INCLUDE_DIR})
