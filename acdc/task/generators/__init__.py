"""The bundled tasks, one file each."""
