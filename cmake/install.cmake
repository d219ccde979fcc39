# `make install`: program, library, header, pkg-config file.
include(GNUInstallDirs)
# The pkg-config file finds the rest from its own place, so that `cmake --install --prefix` may put it anywhere.
file(RELATIVE_PATH TR_PC_TO_PREFIX /prefix/${CMAKE_INSTALL_LIBDIR}/pkgconfig /prefix)
configure_file(${PROJECT_SOURCE_DIR}/cmake/tempr1.pc.in ${PROJECT_BINARY_DIR}/tempr1.pc @ONLY)
install(TARGETS tempr1 libtempr1)
install(FILES ${PROJECT_SOURCE_DIR}/include/tempr1.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(FILES ${PROJECT_BINARY_DIR}/tempr1.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
