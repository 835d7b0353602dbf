from rtstyle.cli import main

main()
