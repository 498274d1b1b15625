from acdc.cli.main import main

main()
